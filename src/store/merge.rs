//! What a change does to the row of its target: the same for every engine.

use hashbrown::HashMap;

use super::{Change, Outcome, PutBack};
use crate::revocation::{Expiry, Id, Row};

/// The plan of one batch: which rows to write and what to answer.
#[derive(Debug, Default)]
pub struct Plan {
    /// One row per changed target, in `seq` order.
    pub rows: Vec<Row>,
    /// The head after the batch.
    pub head: u64,
    /// One outcome per change.
    pub outcomes: Vec<Outcome>,
}

impl Plan {
    /// Moves a plan that was made for an empty log to where the log really stood: `by` is its head before the batch.
    pub fn shift(&mut self, by: u64) {
        self.head += by;
        self.rows.iter_mut().for_each(|row| row.seq += by);
        for outcome in &mut self.outcomes {
            match outcome {
                Outcome::Revoked(seq) | Outcome::Unchanged(seq) | Outcome::Lifted(seq) => *seq += by,
                Outcome::NotFound => {}
            }
        }
    }
}

/// The ids that a batch touches, each once.
pub fn ids(changes: &[Change]) -> Vec<Id> {
    let mut ids: Vec<Id> = changes.iter().map(Change::id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Plans a batch against what is stored. `existing` holds the stored rows of [`ids`], `head` is the head under the lock.
/// Each target gets one position, the position of its last change in the batch, and positions are gap-free after `head`.
pub fn plan(changes: &[Change], existing: Vec<Row>, head: u64, now: i64, skew: i64) -> Plan {
    // One row per target, as it stands after the changes so far.
    let mut rows: Vec<Row> = existing.into_iter().filter(|row| !row.revocation.exp.is_over(now, skew)).collect();
    rows.reserve(changes.len());
    let mut places: HashMap<Id, usize> = HashMap::with_capacity(rows.len() + changes.len());
    places.extend(rows.iter().enumerate().map(|(at, row)| (row.id, at)));
    // The order in which targets last changed; a slot that was overtaken is emptied.
    let mut order: Vec<Option<usize>> = Vec::with_capacity(changes.len());
    let mut slots: Vec<Option<usize>> = vec![None; rows.len()];
    let mut verdicts = Vec::with_capacity(changes.len());
    for change in changes {
        let place = places.get(&change.id()).copied();
        let next = match (change, place.map(|at| &rows[at])) {
            (Change::Revoke(_, r), Some(row)) if !row.lifted => widened(row, r, false),
            (Change::RevokeFor(_, r), Some(row)) if !row.lifted => widened(row, r, true),
            (Change::Revoke(_, r) | Change::RevokeFor(_, r), Some(tombstone)) => Some(renewed(tombstone, r)),
            (Change::Revoke(id, r) | Change::RevokeFor(id, r), None) => {
                Some(Row { seq: 0, id: *id, lifted: false, revocation: r.clone() })
            }
            (Change::Lift(_), Some(row)) if !row.lifted => Some(Row { lifted: true, ..row.clone() }),
            (Change::Lift(_), _) => None,
            (Change::PutBack(back), existing) => put_back(back, existing),
        };
        let changed = next.is_some();
        let place = match (next, place) {
            (None, place) => place,
            (Some(row), Some(at)) => {
                rows[at] = row;
                Some(at)
            }
            (Some(row), None) => {
                places.insert(row.id, rows.len());
                rows.push(row);
                slots.push(None);
                Some(rows.len() - 1)
            }
        };
        if let Some(at) = place.filter(|_| changed) {
            if let Some(slot) = slots[at].replace(order.len()) {
                order[slot] = None;
            }
            order.push(Some(at));
        }
        verdicts.push((place, changed, is_lift(change)));
    }
    let mut plan = Plan { head, ..Plan::default() };
    for at in order.iter().flatten() {
        plan.head += 1;
        rows[*at].seq = plan.head;
    }
    plan.outcomes = verdicts
        .into_iter()
        .map(|(place, changed, lift)| match (place.map(|at| rows[at].seq), changed, lift) {
            (Some(seq), true, false) => Outcome::Revoked(seq),
            (Some(seq), true, true) => Outcome::Lifted(seq),
            (Some(seq), false, false) => Outcome::Unchanged(seq),
            (_, _, _) => Outcome::NotFound,
        })
        .collect();
    // The usual case, every target new and named once: the rows are in order as they are.
    let in_order = order.len() == rows.len() && order.iter().enumerate().all(|(at, row)| *row == Some(at));
    plan.rows = if in_order { rows } else { order.into_iter().flatten().map(|at| rows[at].clone()).collect() };
    plan
}

fn is_lift(change: &Change) -> bool {
    match change {
        Change::Lift(_) => true,
        Change::PutBack(back) => back.row.lifted,
        Change::Revoke(..) | Change::RevokeFor(..) => false,
    }
}

/// What is to become of a row of an earlier epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing: the log says it, or has said something since.
    Nothing,
    /// It is revoked again.
    Revoke,
    /// It is lifted again.
    Lift,
}

/// What has to be known of a target's row in the log to judge a row of an earlier epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stands {
    seq: u64,
    lifted: bool,
    exp: Expiry,
    issued_before: Option<i64>,
    revoked_at: i64,
}

impl From<&Row> for Stands {
    fn from(row: &Row) -> Self {
        let r = &row.revocation;
        let (exp, issued_before, revoked_at) = (r.exp, r.issued_before, r.revoked_at);
        Self { seq: row.seq, lifted: row.lifted, exp, issued_before, revoked_at }
    }
}

impl Stands {
    /// Whether whoever lifted it had before him what `row` says, or more and later: another replica may have put it back.
    fn lifts(&self, row: &Row) -> bool {
        let r = &row.revocation;
        self.lifted && self.exp >= r.exp && self.revoked_at >= r.revoked_at && self.issued_before >= r.issued_before
    }
}

/// Judges `row` of an earlier epoch by its target's row in the log. `base` as in [`PutBack`].
///
/// Where the log still is what it was (up to the base), the higher position is the later word. What was written after that
/// stands beside what was lost, and nobody knows which came first: then the revocation counts and not the lift, unless it was
/// this very revocation that was lifted. Of a log that never had the epoch, a lift is somebody's own word and stays.
pub fn lost(row: &Row, base: Option<u64>, existing: Option<Stands>) -> Lost {
    let again = if row.lifted { Lost::Lift } else { Lost::Revoke };
    let known = existing.map(|stands| (stands.seq, stands.lifted));
    match (known, base) {
        // Nobody has what there is nothing of, so there is nothing to take back.
        (None, _) => {
            if row.lifted {
                Lost::Nothing
            } else {
                Lost::Revoke
            }
        }
        (Some((_, lifted)), None) => {
            if row.lifted || lifted {
                Lost::Nothing
            } else {
                Lost::Revoke
            }
        }
        (Some((seq, _)), Some(base)) if seq > base => {
            if row.seq > base && !row.lifted && !existing.is_some_and(|stands| stands.lifts(row)) {
                Lost::Revoke
            } else {
                Lost::Nothing
            }
        }
        (Some((seq, _)), _) => {
            if seq < row.seq {
                again
            } else {
                Lost::Nothing
            }
        }
    }
}

fn put_back(back: &PutBack, existing: Option<&Row>) -> Option<Row> {
    match (lost(&back.row, back.base, existing.map(Stands::from)), existing) {
        (Lost::Nothing, _) => None,
        (Lost::Lift, existing) => existing.filter(|row| !row.lifted).map(|row| Row { lifted: true, ..row.clone() }),
        (Lost::Revoke, None) => Some(back.row.clone()),
        (Lost::Revoke, Some(row)) if row.lifted => Some(renewed(row, &back.row.revocation)),
        (Lost::Revoke, Some(row)) => widened(row, &back.row.revocation, false),
    }
}

/// The row of a target that was lifted and is revoked anew. It lives as long as the tombstone would have: somebody may
/// still hold the first revocation, and must find this row in the log for as long as that one lasts.
fn renewed(tombstone: &Row, new: &crate::revocation::Revocation) -> Row {
    let mut revocation = new.clone();
    revocation.exp = revocation.exp.max(tombstone.revocation.exp);
    Row { seq: 0, id: tombstone.id, lifted: false, revocation }
}

/// The row that says what both say, or `None` when `row` already does. Reason, source and time of the first one stay
/// unless the rule becomes wider.
fn widened(row: &Row, new: &crate::revocation::Revocation, span: bool) -> Option<Row> {
    let old = &row.revocation;
    // A redelivery, a retry or the next pull of a list; for a rule it may mean tokens that were issued since.
    let repeated = span && !new.target.kind.is_rule() && new.span() <= old.span();
    let exp = if repeated { old.exp } else { old.exp.max(new.exp) };
    let issued_before = old.issued_before.max(new.issued_before);
    let wso2_key = old.wso2_key.clone().or_else(|| new.wso2_key.clone());
    if exp == old.exp && issued_before == old.issued_before && wso2_key == old.wso2_key {
        return None;
    }
    let mut revocation = new.clone();
    (revocation.exp, revocation.issued_before, revocation.wso2_key) = (exp, issued_before, wso2_key);
    revocation.reason = revocation.reason.or_else(|| old.reason.clone());
    Some(Row { seq: 0, id: row.id, lifted: false, revocation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::{Expiry, Kind, Revocation, Target};

    fn revoke(jti: &str, exp: i64) -> Change {
        Change::revoke(Revocation {
            target: Target { kind: Kind::Token, iss: None, value: jti.into() },
            issued_before: None,
            exp: Expiry(exp),
            revoked_at: 1,
            reason: None,
            source: "t".into(),
            wso2_key: None,
        })
    }

    fn lift(jti: &str) -> Change {
        Change::Lift(Id::of(Kind::Token, None, jti))
    }

    #[test]
    fn idempotent_the_same_again_takes_no_position() {
        let first = plan(&[revoke("a", 100), revoke("a", 100), revoke("b", 50)], vec![], 7, 0, 0);
        assert_eq!(first.outcomes, [Outcome::Revoked(8), Outcome::Unchanged(8), Outcome::Revoked(9)]);
        assert_eq!(first.head, 9);
        let again = plan(&[revoke("a", 99), revoke("b", 50)], first.rows, 9, 0, 0);
        assert_eq!(again.outcomes, [Outcome::Unchanged(8), Outcome::Unchanged(9)]);
        assert_eq!((again.head, again.rows.len()), (9, 0));
    }

    #[test]
    fn idempotent_the_same_span_again_says_nothing_new_of_a_token() {
        let at = |kind, revoked_at, span: i64| {
            let Change::Revoke(_, mut r) = revoke("a", revoked_at + span) else { unreachable!() };
            (r.target.kind, r.revoked_at) = (kind, revoked_at);
            Change::RevokeFor(r.target.id(), r)
        };
        let rows = plan(&[at(Kind::Token, 1000, 60)], vec![], 0, 0, 0).rows;
        let again = |change| plan(&[change], rows.clone(), 1, 1010, 0).outcomes;
        assert_eq!(again(at(Kind::Token, 1010, 60)), [Outcome::Unchanged(1)]);
        assert_eq!(again(at(Kind::Token, 1010, 61)), [Outcome::Revoked(2)]);
        // Said of the token itself, a later expiry counts.
        assert_eq!(again(revoke("a", 1070)), [Outcome::Revoked(2)]);
        // A session can have got new tokens meanwhile.
        let rows = plan(&[at(Kind::Session, 1000, 60)], vec![], 0, 0, 0).rows;
        let again = plan(&[at(Kind::Session, 1010, 60)], rows, 1, 1010, 0);
        assert_eq!(again.outcomes, [Outcome::Revoked(2)]);
    }

    #[test]
    fn a_later_expiry_moves_the_row_and_one_batch_leaves_one_row_per_target() {
        let p = plan(&[revoke("a", 1), revoke("b", 1), revoke("a", 2), lift("a"), revoke("a", 1)], vec![], 0, 0, 0);
        assert_eq!(p.head, 2);
        assert_eq!(
            p.rows.iter().map(|r| (r.seq, r.revocation.target.value.as_str())).collect::<Vec<_>>(),
            [(1, "b"), (2, "a")]
        );
        // Lifted and revoked anew, but a client may hold the longer one and has to be able to read this.
        assert_eq!(p.rows[1].revocation.exp, Expiry(2));
    }

    #[test]
    fn put_back_says_again_what_was_lost_and_nothing_else() {
        let at = |seq: u64, lifted: bool, exp: i64| {
            let Change::Revoke(id, revocation) = revoke("a", exp) else { unreachable!() };
            Row { seq, id, lifted, revocation }
        };
        // Lost with position 8 (or known to 5) under an epoch of which the log has kept everything up to 6.
        let back = |base: Option<u64>, row: Row, stored: Option<Row>| {
            let change = Change::PutBack(Box::new(PutBack { row, base }));
            let p = plan(&[change], stored.into_iter().collect(), 20, 0, 0);
            p.rows.first().map(|row| (row.lifted, row.revocation.exp.0))
        };
        let live = |seq| at(seq, false, 100);
        let lifted = |seq| at(seq, true, 100);
        assert_eq!(back(Some(6), live(8), None), Some((false, 100)), "lost altogether");
        assert_eq!(back(Some(6), lifted(8), None), None, "nobody can hold it");
        assert_eq!(back(Some(6), live(8), Some(at(4, false, 50))), Some((false, 100)), "its widening was lost");
        assert_eq!(back(Some(6), live(8), Some(lifted(4))), Some((false, 100)), "it was revoked anew");
        assert_eq!(back(Some(6), lifted(8), Some(live(4))), Some((true, 100)), "the lift was lost");
        assert_eq!(back(Some(6), live(5), Some(live(5))), None, "it is still there");
        assert_eq!(back(Some(6), live(3), Some(lifted(5))), None, "this hub had not heard of the lift yet");
        assert_eq!(back(Some(6), live(5), Some(lifted(9))), None, "not lost, and lifted since");
        assert_eq!(
            back(Some(6), live(8), Some(at(9, true, 99))),
            Some((false, 100)),
            "lost, and the lift did not know of it"
        );
        assert_eq!(back(Some(6), live(8), Some(lifted(9))), None, "put back by another replica, and lifted then");
        assert_eq!(back(Some(6), live(8), Some(at(9, false, 100))), None, "said again by somebody else");
        assert_eq!(back(Some(6), lifted(8), Some(live(9))), None, "revoked since");
        // A database that never had the epoch.
        assert_eq!(back(None, live(8), None), Some((false, 100)));
        assert_eq!(back(None, live(8), Some(at(2, false, 50))), Some((false, 100)));
        assert_eq!(back(None, live(8), Some(lifted(2))), None);
        assert_eq!(back(None, lifted(8), Some(live(2))), None);
    }

    #[test]
    fn what_is_over_counts_as_absent() {
        let old = plan(&[revoke("a", 10)], vec![], 0, 0, 0).rows;
        assert_eq!(plan(&[lift("a")], old.clone(), 1, 70, 60).outcomes, [Outcome::NotFound]);
        assert_eq!(plan(&[lift("a")], old, 1, 69, 60).outcomes, [Outcome::Lifted(2)]);
    }

    #[test]
    fn a_lift_of_what_is_lifted_or_unknown_is_not_found() {
        let p = plan(&[lift("x"), revoke("a", 9), lift("a"), lift("a")], vec![], 0, 0, 0);
        assert_eq!(p.outcomes, [Outcome::NotFound, Outcome::Revoked(1), Outcome::Lifted(1), Outcome::NotFound]);
        assert!(p.rows[0].lifted);
    }
}
