-- What tells that the log is no longer the one it was, and what that means for those who held it.

-- Where the epoch was made: server (system identifier), timeline, database and table. On any other place the log may
-- lack its last rows, or hand out their positions again: a promoted standby, a restored backup. Null: not known.
alter table log add column home text;

-- Epochs that are over.
create table former_epoch (
    epoch text   not null,
    -- Up to this position the log is still what it was then: each of these positions holds what it held, or has moved on.
    base  bigint not null,
    constraint former_epoch_pkey primary key (epoch)
);
