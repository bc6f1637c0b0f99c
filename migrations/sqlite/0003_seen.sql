-- What must have an effect once: ids of signed events and webhooks that were taken, and what was answered.
create table seen (
    -- SHA-256 over source and id.
    digest blob    not null primary key,
    -- The first answer, for a repeat.
    answer text    not null,
    -- Until when a repeat can come, seconds since 1970; pruned afterwards.
    until  integer not null
) strict;

create index seen_until_idx on seen (until);
