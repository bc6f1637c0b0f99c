-- Who revoked or lifted what, when, and by which way: one row per request that changed something, written in the same
-- transaction. Rows are added and, when they are older than audit.retention, deleted; nothing changes one.
create table audit (
    -- By which people name it, and what keeps rows of one millisecond apart.
    number    integer primary key autoincrement,
    -- When the request was handed to the store, milliseconds since 1970.
    at        integer not null,
    -- 1 revoked, 2 lifted, 3 the log got a new epoch.
    action    integer not null,
    epoch     text    not null,
    -- The positions that it took in the log of this epoch, from the first to the last; null for a new epoch.
    first_seq integer,
    last_seq  integer,
    -- The source that the revocations carry, or the hub itself.
    source    text    not null,
    -- Whose credentials it was; null where nobody has shown any.
    client    text,
    -- The rest, as JSON: cause, address, forwarded_for, request_id, unchanged, and for up to sixteen targets their kinds and,
    -- but for single tokens, their names.
    detail    text    not null,
    -- The ids of the targets, 16 bytes each, and in the same order the first 8 bytes of the id that the target would have
    -- without an issuer: by these it is found when the revocations are long gone.
    ids       blob    not null,
    keys      blob    not null
) strict;

create index audit_at_idx on audit (at, number);
