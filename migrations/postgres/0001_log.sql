-- The log of revocations. Read it as you like; write to it only through revocation-hub: other programs' rows would
-- have positions that its clients have already passed.

-- One row: the incarnation of the log and its newest position. Every writer locks this row until its commit, which is
-- what makes positions gap-free and their order the order of commits.
create table log (
    only_row boolean not null default true,
    -- A random name. Clients' cursors carry it; a cursor of another epoch starts over.
    epoch    text    not null,
    -- The newest position ever given.
    head     bigint  not null,
    constraint log_pkey primary key (only_row),
    constraint log_one_row check (only_row),
    constraint log_head check (head >= 0)
) with (
    -- Updated by every commit. Room on its page keeps old versions there, where the next update cleans them up.
    fillfactor = 10
);

-- One row per target. A change of a revocation moves its row to a new position. Wide columns first: no padding.
create table revocation (
    -- Position in the log.
    seq           bigint   not null,
    -- When the last token this can hit has expired, seconds since 1970; 9223372036854775807 = never.
    exp           bigint   not null,
    -- When the hub accepted it, seconds since 1970.
    revoked_at    bigint   not null,
    -- Only tokens issued before this second are hit; null for kinds that name single tokens, sessions and keys.
    issued_before bigint,
    -- Digest of kind, iss and value: the id of the HTTP interface (there without hyphens).
    id            uuid     not null,
    -- 1 token (jti), 2 token hash (SHA-256), 3 signature, 4 session, 5 subject, 6 client, 7 key, 8 issuer.
    kind          smallint not null,
    -- True: taken back. The row stays until it expires, so that every client hears of it.
    lifted        boolean  not null,
    -- The claim's value that is compared.
    value         text     not null,
    -- The issuer that the token must have; null: any.
    iss           text,
    -- Free text for people.
    reason        text,
    -- The name of the source that it came from.
    source        text     not null,
    -- What a WSO2 gateway compares where that is not the value. May be the text of an opaque token: a credential.
    wso2_key      text,
    constraint revocation_pkey primary key (id),
    constraint revocation_seq_key unique (seq)
) with (
    -- Expired rows are deleted all day; let vacuum follow closely.
    autovacuum_vacuum_scale_factor = 0.05
);

-- Finds what has expired. Rows that never expire are not worth the space.
create index revocation_exp_idx on revocation (exp) where exp < 9223372036854775807;
