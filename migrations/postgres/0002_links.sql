-- What belongs to sources and outlets that speak to other systems.

-- Messages that a broker delivered and that could not be read or were refused: acknowledged there, kept here for a
-- person. They may hold tokens.
create table parked (
    -- By which people name it.
    number       bigint generated always as identity,
    -- SHA-256 over source and body, so that a message that is delivered again is kept once.
    digest       bytea  not null,
    -- The name of the source.
    source       text   not null,
    -- Why: a stable code, and a text for people.
    reason       text   not null,
    detail       text   not null,
    content_type text,
    body         bytea  not null,
    -- Seconds since 1970.
    received_at  bigint not null,
    constraint parked_pkey primary key (number),
    constraint parked_digest_key unique (digest)
);

-- Outlets that send: how far each has come, and which replica sends.
create table outlet (
    name   text not null,
    -- Everything up to here was confirmed by the other side; null: nothing yet.
    epoch  text,
    seq    bigint,
    -- A random name of the process that has the outlet, and until when without renewal.
    holder text,
    until  timestamptz,
    constraint outlet_pkey primary key (name)
) with (
    -- Updated all the time, and its row should stay on its page.
    fillfactor = 10
);
