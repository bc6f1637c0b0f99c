//! The statements.

use sqlx::error::DatabaseError;

use crate::revocation::Epoch;

/// Takes the lock that all writers queue at. A simple query, so that both statements travel together.
pub(super) const LOCK: &str = "begin; select epoch, head, home, tableoid::bigint from log for update";

/// Looks where the log stands, without its lock. A simple query, so that the statements travel together. From here on the
/// transaction waits for nobody for longer than a batch takes: see [`super::foretold`].
pub(super) const LOOK: &str =
    "begin; set local lock_timeout = '20ms'; select epoch, head, home, tableoid::bigint from log";

/// Takes the lock if nobody has it, moves the head from where it was foretold to be, and commits; else an error that
/// [`disagrees`]. A simple query, so that all of it is one round trip under the lock. Of the epoch only letters and digits
/// get into the text, see [`Epoch`].
pub(super) fn agree(epoch: &Epoch, base: u64, head: u64, notify: bool) -> String {
    let notify = if notify { ", pg_notify('revocation_hub', head::text)" } else { "" };
    format!(
        "select from log for update nowait;
        with l as (update log set head = {head} where head = {base} and epoch = '{epoch}' returning head{notify})
        select 1 / count(*) from l;
        commit"
    )
}

/// Whether somebody else had the lock or a row (55P03, or 40P01 where deadlocks are looked for at once), or the head was another one (22012, the division in [`agree`]).
pub(super) fn disagrees(error: &dyn DatabaseError) -> bool {
    matches!(error.code().as_deref(), Some("55P03" | "40P01" | "22012"))
}

/// A statement of its own after [`LOCK`]: under READ COMMITTED each statement sees what was committed before it began,
/// and the one that waited for the lock began before the other writer's commit.
pub(super) const EXISTING: &str =
    "select seq, id, kind, iss, value, issued_before, exp, revoked_at, reason, source, wso2_key, lifted
    from revocation where id = any($1)";

/// The columns of records, see [`super::audit::bind`], from the parameter `$from` on.
macro_rules! records {
    ($at:literal $action:literal $first:literal $last:literal $source:literal $client:literal $detail:literal $ids:literal $keys:literal) => {
        concat!(
            "unnest($",
            $at,
            "::bigint[], $",
            $action,
            "::smallint[], $",
            $first,
            "::bigint[], $",
            $last,
            "::bigint[], $",
            $source,
            "::text[], $",
            $client,
            "::text[], $",
            $detail,
            "::text[], $",
            $ids,
            "::bytea[], $",
            $keys,
            "::bytea[])
            as u (at, action, first_seq, last_seq, source, client, detail, ids, keys)"
        )
    };
}

/// Records beside rows that are written in another way.
pub(super) const NOTE: &str = concat!(
    "insert into audit (at, action, first_seq, last_seq, source, client, detail, ids, keys, epoch) select u.*, $10 from ",
    records!(1 2 3 4 5 6 7 8 9)
);

/// Rows and head in one statement. A new position is above every stored one, so a row that moves never meets another on
/// the unique index. Kind, iss and value never change: they are the id.
macro_rules! write_sql {
    ($returning:literal) => {
        concat!(
            "with written as (
                insert into revocation (seq, id, kind, iss, value, issued_before, exp, revoked_at, reason, source, wso2_key, lifted)
                select * from unnest($1::bigint[], $2::uuid[], $3::smallint[], $4::text[], $5::text[], $6::bigint[],
                    $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::boolean[])
                on conflict (id) do update set seq = excluded.seq, issued_before = excluded.issued_before,
                    exp = excluded.exp, revoked_at = excluded.revoked_at, reason = excluded.reason,
                    source = excluded.source, wso2_key = excluded.wso2_key, lifted = excluded.lifted
            ),
            noted as (
                insert into audit (at, action, first_seq, last_seq, source, client, detail, ids, keys, epoch)
                select u.*, $23 from ",
            records!(14 15 16 17 18 19 20 21 22),
            ")
            update log set head = $13::bigint",
            $returning
        )
    };
}
pub(super) const WRITE: &str = write_sql!("");
pub(super) const WRITE_AND_NOTIFY: &str = write_sql!(" returning pg_notify('revocation_hub', head::text)");

/// The usual case in one round trip: all targets are new. The update of `log` waits for the lock and then works on its
/// newest version, and the unique index on the id sees what other transactions committed meanwhile, so neither depends on
/// the statement's snapshot. One target that is there already fails the whole statement, and nothing was done. Where the
/// log may not be the one it was (see [`super::standing`]), nothing is done either, and there is no row.
macro_rules! fresh_sql {
    ($notify:literal) => {
        concat!(
            "with l as (update log set head = head + $13::bigint
                where (home is null or home = coalesce($14 || tableoid, home)) and (epoch <> $15 or head >= $16)
                returning epoch, head),
            written as (
                insert into revocation (seq, id, kind, iss, value, issued_before, exp, revoked_at, reason, source, wso2_key, lifted)
                select l.head - $13::bigint + u.seq, u.id, u.kind, u.iss, u.value, u.issued_before, u.exp, u.revoked_at,
                    u.reason, u.source, u.wso2_key, u.lifted
                from l, unnest($1::bigint[], $2::uuid[], $3::smallint[], $4::text[], $5::text[], $6::bigint[],
                    $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::boolean[])
                    as u (seq, id, kind, iss, value, issued_before, exp, revoked_at, reason, source, wso2_key, lifted)
            ),
            noted as (
                insert into audit (at, action, first_seq, last_seq, source, client, detail, ids, keys, epoch)
                select u.at, u.action, l.head - $13::bigint + u.first_seq, l.head - $13::bigint + u.last_seq, u.source,
                    u.client, u.detail, u.ids, u.keys, l.epoch
                from l, ",
            records!(17 18 19 20 21 22 23 24 25),
            ")
            select epoch, head",
            $notify,
            " from l"
        )
    };
}
pub(super) const FRESH: &str = fresh_sql!("");
pub(super) const FRESH_AND_NOTIFY: &str = fresh_sql!(", pg_notify('revocation_hub', head::text)");

/// Takes the lock and `n` positions. A simple query, so that both statements travel together. The other hubs are told
/// at the commit.
pub(super) fn take(n: usize, notify: bool) -> String {
    let notify = if notify { ", pg_notify('revocation_hub', head::text)" } else { "" };
    format!("begin; update log set head = head + {n} returning epoch, head, home, tableoid::bigint{notify}")
}

/// Writes rows whose targets are all new: half the work of an `insert` to the server. The columns as in [`super::copy`].
pub(super) const COPY: &str =
    "copy revocation (seq, id, kind, iss, value, issued_before, exp, revoked_at, reason, source, wso2_key, lifted)
    from stdin (format binary)";

/// Head, epoch and rows in one statement, so from one snapshot.
///
/// With where the log should be, and with the time at which the transaction began: the snapshot is not older than that.
pub(super) const READ_AFTER: &str =
    "select l.epoch, l.head, l.home is not null and l.home <> coalesce($3 || l.tableoid, l.home),
        floor(extract(epoch from now()) * 1000)::bigint, r.* from log l left join (
        select seq, id, kind, iss, value, issued_before, exp, revoked_at, reason, source, wso2_key, lifted
        from revocation where seq > $1 order by seq limit $2
    ) r on true";

/// Waits for nobody, so it cannot be part of a deadlock. The outer condition is asked again of a row that moved in
/// between. The last part sees what was there before, so it tells what was left too.
pub(super) const PRUNE: &str = "with gone as (
        delete from revocation where id = any(array(
            select id from revocation where id = any($1) and exp <= $2 for update skip locked
        )) and exp <= $2 returning id
    ) select r.id, g.id is not null from revocation r left join gone g on g.id = r.id where r.id = any($1) and r.exp < 9223372036854775807";

/// When two hubs start at once, the second one's row meets the constraint and the first one's stays.
pub(super) const BEGIN_LOG: &str =
    "insert into log (epoch, head, home) select $1, coalesce(max(seq), 0), $2 || to_regclass('log')::oid from revocation
    on conflict (only_row) do update set home = excluded.home where log.home is null and excluded.home is not null";

/// Puts a new epoch in place of the one that was expected; no row when it is another by now. What earlier epochs know of
/// the log reaches no further than what is left of it.
pub(super) const RENEW: &str = "with l as (
        update log set epoch = $1, home = coalesce($3 || tableoid, home) where epoch = $2 returning head
    ), older as (
        update former_epoch set base = least(base, l.head) from l
    ), old as (
        insert into former_epoch (epoch, base) select $2, head from l
    ), noted as (
        insert into audit (at, action, source, client, detail, epoch, ids, keys) select $4, 3, $5, $6, $7, $1, '', '' from l
    ) select head from l";
/// Forgets all but so many of the epochs that are over, and never the one that is just over, $1. Those that reach farthest
/// stay: for a hub that comes back with one of the others, the log counts as one that never had it, and what is missing is put
/// back all the same.
pub(super) const FORGET: &str = "delete from former_epoch where epoch in (
        select epoch from former_epoch where epoch <> $1 order by base desc offset 1000
    )";
pub(super) const EPOCH: &str = "select epoch from log";
pub(super) const BASE: &str = "select base from former_epoch where epoch = $1";
