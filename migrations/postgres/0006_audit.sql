-- Who revoked or lifted what, when, and by which way: one row per request that changed something, written in the same
-- transaction. Rows are added and, when they are older than audit.retention, deleted; nothing changes one.
create table audit (
    -- When the request was handed to the store, milliseconds since 1970.
    at        bigint   not null,
    -- By which people name it, and what keeps rows of one millisecond apart. Not every number is used.
    number    bigint   generated always as identity,
    -- The positions that it took in the log of this epoch, from the first to the last; null for a new epoch.
    first_seq bigint,
    last_seq  bigint,
    -- 1 revoked, 2 lifted, 3 the log got a new epoch.
    action    smallint not null,
    epoch     text     not null,
    -- The source that the revocations carry, or the hub itself.
    source    text     not null,
    -- Whose credentials it was; null where nobody has shown any.
    client    text,
    -- The rest, as JSON: cause, address, forwarded_for, request_id, unchanged, and for up to sixteen targets their kinds and,
    -- but for single tokens, their names.
    detail    text     not null,
    -- The ids of the targets, 16 bytes each, and in the same order the first 8 bytes of the id that the target would have
    -- without an issuer: by these it is found when the revocations are long gone.
    ids       bytea    not null,
    keys      bytea    not null,
    constraint audit_pkey primary key (at, number)
);
-- Digests cannot be compressed, and are looked through from one end to the other.
alter table audit alter column ids set storage external;
alter table audit alter column keys set storage external;
