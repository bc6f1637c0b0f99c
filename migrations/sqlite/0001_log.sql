-- The log of revocations. Read it as you like (with the sqlite3 shell, also while the hub runs); write to it only
-- through revocation-hub: other programs' rows would have positions that its clients have already passed.

-- One row: the incarnation of the log and its newest position.
create table log (
    only_row integer not null primary key check (only_row = 1),
    -- A random name. Clients' cursors carry it; a cursor of another epoch starts over.
    epoch    text    not null,
    -- The newest position ever given.
    head     integer not null check (head >= 0)
) strict;

-- One row per target. A change of a revocation moves its row to a new position. The position is the rowid: the table
-- itself is stored in the order in which it is read, new rows always go to its end, and only the 16 bytes of the id
-- are stored twice. (WITHOUT ROWID on the id would scatter both, since ids are random.)
create table revocation (
    -- Position in the log.
    seq           integer not null primary key,
    -- Digest of kind, iss and value: the id of the HTTP interface; see it with hex(id).
    id            blob    not null unique,
    -- 1 token (jti), 2 token hash (SHA-256), 3 signature, 4 session, 5 subject, 6 client, 7 key, 8 issuer.
    kind          integer not null,
    -- The issuer that the token must have; null: any.
    iss           text,
    -- The claim's value that is compared.
    value         text    not null,
    -- Only tokens issued before this second are hit; null for kinds that name single tokens, sessions and keys.
    issued_before integer,
    -- When the last token this can hit has expired, seconds since 1970; 9223372036854775807 = never.
    exp           integer not null,
    -- When the hub accepted it, seconds since 1970.
    revoked_at    integer not null,
    -- Free text for people.
    reason        text,
    -- The name of the source that it came from.
    source        text    not null,
    -- What a WSO2 gateway compares where that is not the value. May be the text of an opaque token: a credential.
    wso2_key      text,
    -- 1: taken back. The row stays until it expires, so that every client hears of it.
    lifted        integer not null
) strict;

-- Finds what has expired. Rows that never expire are not worth the space.
create index revocation_exp_idx on revocation (exp) where exp < 9223372036854775807;
