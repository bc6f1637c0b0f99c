-- What belongs to sources and outlets that speak to other systems.

-- Messages that a broker delivered and that could not be read or were refused: acknowledged there, kept here for a
-- person. They may hold tokens.
create table parked (
    -- By which people name it; never used twice.
    number       integer primary key autoincrement,
    -- SHA-256 over source and body, so that a message that is delivered again is kept once.
    digest       blob    not null unique,
    -- The name of the source.
    source       text    not null,
    -- Why: a stable code, and a text for people.
    reason       text    not null,
    detail       text    not null,
    content_type text,
    body         blob    not null,
    -- Seconds since 1970.
    received_at  integer not null
) strict;

-- Outlets that send: how far each has come, and which process sends.
create table outlet (
    name   text not null primary key,
    -- Everything up to here was confirmed by the other side; null: nothing yet.
    epoch  text,
    seq    integer,
    -- A random name of the process that has the outlet, and until when without renewal, seconds since 1970.
    holder text,
    until  real
) strict;
