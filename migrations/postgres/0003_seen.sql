-- What must have an effect once: ids of signed events and webhooks that were taken, and what was answered.
create table seen (
    -- SHA-256 over source and id.
    digest bytea  not null,
    -- The first answer, for a repeat.
    answer text   not null,
    -- Until when a repeat can come, seconds since 1970; pruned afterwards.
    until  bigint not null,
    constraint seen_pkey primary key (digest)
);

create index seen_until_idx on seen (until);
