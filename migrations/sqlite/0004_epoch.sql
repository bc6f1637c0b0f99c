-- Epochs that are over: the log was renewed because it may have lost its last rows (a restored backup).
create table former_epoch (
    epoch text    not null primary key,
    -- Up to this position the log is still what it was then: each of these positions holds what it held, or has moved on.
    base  integer not null
) strict;
