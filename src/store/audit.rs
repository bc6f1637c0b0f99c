//! The audit: who revoked or lifted what, when, and by which way. Beside the log, and longer than it.
//!
//! **Pattern.** Each request that changed something leaves one record (one for what it revoked and one for what it lifted,
//! where it did both), written in the transaction that changed it: neither is there without the other. A record names its
//! targets by their ids, 16 bytes each, so it costs a fraction of the rows and still answers when they are gone.
//!
//! **What is not in it.** No token and nothing of one: a single token stands there by its digest only. Rules (session,
//! subject, client, key, issuer) have their names. A repeat that changed nothing, and what was refused, leave no record: the
//! metrics count them.
//!
//! **Finding a target.** There is no index on the ids, because it would cost each revocation as much as the one of the log.
//! A search reads records in the order of their time, slice by slice, and stops after a while with the place to go on from:
//! it takes longer on a large audit, but it never fails and never holds anything up.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Change, Outcome, StoreError};
use crate::actor::Actor;
use crate::revocation::{Id, Kind, Row, Target};

/// Of so many targets at most a record has kinds and names.
pub const MAX_NAMED: usize = 16;

/// Records that a search looks through at once.
const SLICE: usize = 20_000;

/// How long a search goes on before it tells what it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was done. The numbers stand in the database and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// Targets were revoked, or what was revoked became wider.
    Revoke = 1,
    /// Revocations were taken back.
    Lift = 2,
    /// The log got a new epoch.
    RenewEpoch = 3,
}

impl Action {
    /// Every action.
    pub const ALL: [Action; 3] = [Action::Revoke, Action::Lift, Action::RenewEpoch];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Revoke => "revoke",
            Action::Lift => "lift",
            Action::RenewEpoch => "renew_epoch",
        }
    }

    /// The action with this number.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|action| *action as i16 == number)
    }
}

/// Why a request was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody asked for it.
    #[default]
    Request,
    /// The log had lost it, and a hub has put it back.
    PutBack,
    /// It came with `revocation-hub import`.
    Import,
    /// `revocation-hub epoch renew`.
    ByHand,
    /// The log is on another server, timeline or table.
    Moved,
    /// Its head went back.
    Shrunk,
    /// A client was ahead of it.
    Ahead,
}

/// What is to be recorded of some of the changes of one [`super::Store::append_as`], or of a new epoch.
#[derive(Clone, Debug)]
pub struct Note {
    /// Who asked.
    pub actor: Arc<Actor>,
    /// The source that the revocations carry.
    pub source: Arc<str>,
    /// Why.
    pub cause: Cause,
    /// When, milliseconds since 1970.
    pub at: i64,
    /// How many of the changes it is about: those that follow what the notes before it are about.
    pub changes: usize,
}

/// The name of the hub itself as a source, for what nobody asked for.
pub const HUB: &str = "hub";

/// What of a record is never searched for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// Why.
    #[serde(skip_serializing_if = "is_request")]
    pub cause: Cause,
    /// See [`Actor::issuer`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// See [`Actor::address`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// See [`Actor::forwarded_for`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded_for: Option<String>,
    /// See [`Actor::request_id`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// How many targets of the same request were said already, or not there to be lifted.
    #[serde(skip_serializing_if = "is_zero")]
    pub unchanged: u64,
    /// The targets, if they are few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Named>,
}

/// A target in a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// [`Kind::name`].
    pub kind: String,
    /// The issuer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub iss: Option<String>,
    /// The value; `None` for a single token, whose `jti` may be the very text of an opaque one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<String>,
}

fn is_request(cause: &Cause) -> bool {
    *cause == Cause::Request
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Named {
    fn of(target: &Target) -> Self {
        let value = target.kind.is_rule().then(|| target.value.clone());
        Self { kind: target.kind.name().to_owned(), iss: target.iss.clone(), value }
    }
}

/// The first bytes of the id that a target would have without an issuer: by these it is found by somebody who does not know
/// the issuer.
pub fn key(kind: Kind, value: &str) -> [u8; 8] {
    let mut key = [0; 8];
    key.copy_from_slice(&Id::of(kind, None, value).0[..8]);
    key
}

/// A record on its way to the store.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub at: i64,
    pub action: Action,
    /// As the outcomes have them.
    pub seqs: Option<(u64, u64)>,
    pub source: Arc<str>,
    pub client: Option<Arc<str>>,
    /// JSON.
    pub detail: String,
    pub ids: Vec<u8>,
    pub keys: Vec<u8>,
}

impl Draft {
    /// The record of a new epoch.
    pub(super) fn epoch(note: &Note) -> Self {
        Self::new(note, Action::RenewEpoch, &Changed::default(), 0)
    }

    fn new(note: &Note, action: Action, changed: &Changed, unchanged: u64) -> Self {
        let Actor { client, issuer, address, forwarded_for, request_id } = &*note.actor;
        let detail = Detail {
            cause: note.cause,
            issuer: issuer.as_deref().map(str::to_owned),
            address: *address,
            forwarded_for: forwarded_for.as_deref().map(str::to_owned),
            request_id: request_id.as_deref().map(str::to_owned),
            unchanged,
            targets: changed.named.clone(),
        };
        Self {
            at: note.at,
            action,
            seqs: changed.seqs,
            source: note.source.clone(),
            client: client.clone(),
            detail: serde_json::to_string(&detail).expect("strings and numbers are JSON"),
            ids: changed.ids.clone(),
            keys: changed.keys.clone(),
        }
    }
}

/// What one request changed in one way.
#[derive(Default)]
struct Changed {
    seqs: Option<(u64, u64)>,
    ids: Vec<u8>,
    keys: Vec<u8>,
    named: Vec<Named>,
}

impl Changed {
    fn add(&mut self, seq: u64, id: Id, target: &Target) {
        let (first, last) = self.seqs.unwrap_or((seq, seq));
        self.seqs = Some((first.min(seq), last.max(seq)));
        self.ids.extend_from_slice(&id.0);
        match target.iss {
            // Then it is the beginning of the id itself.
            None => self.keys.extend_from_slice(&id.0[..8]),
            Some(_) => self.keys.extend_from_slice(&key(target.kind, &target.value)),
        }
        if self.ids.len() <= MAX_NAMED * 16 {
            self.named.push(Named::of(target));
        } else {
            self.named.clear();
        }
    }
}

/// The records of a batch. `rows` are those that it writes, in the order of their positions.
pub(super) fn drafts(notes: &[Note], changes: &[Change], outcomes: &[Outcome], rows: &[Row]) -> Vec<Draft> {
    let mut all = Vec::with_capacity(notes.len());
    let mut pairs = changes.iter().zip(outcomes);
    for note in notes {
        let (mut revoked, mut lifted, mut unchanged) = (Changed::default(), Changed::default(), 0);
        for (change, outcome) in pairs.by_ref().take(note.changes) {
            let (changed, seq) = match outcome {
                Outcome::Revoked(seq) => (&mut revoked, *seq),
                Outcome::Lifted(seq) => (&mut lifted, *seq),
                Outcome::Unchanged(_) | Outcome::NotFound => {
                    unchanged += 1;
                    continue;
                }
            };
            match change {
                Change::Revoke(id, r) | Change::RevokeFor(id, r) => changed.add(seq, *id, &r.target),
                Change::PutBack(back) => changed.add(seq, back.row.id, &back.row.revocation.target),
                // Only the row knows what it was.
                Change::Lift(id) => {
                    if let Ok(at) = rows.binary_search_by_key(&seq, |row| row.seq) {
                        changed.add(seq, *id, &rows[at].revocation.target);
                    }
                }
            }
        }
        for (action, changed) in [(Action::Revoke, revoked), (Action::Lift, lifted)] {
            if changed.seqs.is_some() {
                all.push(Draft::new(note, action, &changed, std::mem::take(&mut unchanged)));
            }
        }
    }
    all
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its time and number.
    pub place: Place,
    /// What was done.
    pub action: Action,
    /// The epoch of the positions, or the new one.
    pub epoch: String,
    /// The first and the last position.
    pub seqs: Option<(u64, u64)>,
    /// The source.
    pub source: String,
    /// Whose credentials it was.
    pub client: Option<String>,
    /// The rest.
    pub detail: Detail,
    /// How many targets.
    pub count: u64,
    /// The ids of the targets: all of them if they were asked for, else the first [`MAX_NAMED`].
    pub ids: Vec<Id>,
}

impl Record {
    /// The ids in the bytes that the store has.
    pub(super) fn ids(bytes: &[u8]) -> Vec<Id> {
        let chunks = bytes.chunks_exact(16).filter_map(|id| id.try_into().ok());
        chunks.map(Id).collect()
    }
}

/// Where a record stands among all: its time in milliseconds since 1970, and its number. Written `<time>-<number>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Milliseconds since 1970.
    pub at: i64,
    /// The number.
    pub number: i64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.at, self.number)
    }
}

impl std::str::FromStr for Place {
    type Err = std::num::ParseIntError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (at, number) = s.split_once('-').unwrap_or((s, ""));
        Ok(Self { at: at.parse()?, number: number.parse()? })
    }
}

/// A target that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This very one.
    Id(Id),
    /// Of whichever issuer, see [`key`].
    Key([u8; 8]),
}

/// What records to find.
#[derive(Clone, Debug)]
pub struct Query {
    /// Not older than this, milliseconds since 1970.
    pub since: i64,
    /// Older than this, milliseconds since 1970.
    pub until: i64,
    /// Only this action.
    pub action: Option<Action>,
    /// Only of this client.
    pub client: Option<String>,
    /// Only of this source.
    pub source: Option<String>,
    /// Only those about this target.
    pub target: Option<Wanted>,
    /// Go on behind this record.
    pub after: Option<Place>,
    /// The oldest first instead of the newest.
    pub ascending: bool,
    /// At most so many.
    pub limit: usize,
    /// With the ids of all targets.
    pub ids: bool,
}

/// Some records, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In the order that was asked for.
    pub records: Vec<Record>,
    /// There may be more behind this; there can be although `records` is empty.
    pub next: Option<Place>,
}

/// A stretch of the audit, in the direction of a query: behind the first place, up to and with the second.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Not this one.
    pub behind: Place,
    /// This one too.
    pub to: Place,
}

/// Where the audit is.
#[async_trait]
pub trait Audit: Send + Sync {
    /// The record that stands `skip` behind the first one of the span; `None` when it ends before.
    async fn audit_end(&self, ascending: bool, span: Span, skip: usize) -> Result<Option<Place>, StoreError>;

    /// The first records of the span that the query is about, at most as many as it asks for.
    async fn audit_read(&self, query: &Query, span: Span) -> Result<Vec<Record>, StoreError>;

    /// Deletes at most `limit` of the records from before `before` (milliseconds since 1970); returns how many.
    async fn forget_audit(&self, before: i64, limit: usize) -> Result<u64, StoreError>;
}

/// Finds records.
pub async fn find(store: &(impl Audit + ?Sized), query: &Query) -> Result<Found, StoreError> {
    let began = Instant::now();
    let (oldest, newest) = (Place { at: query.since, number: 0 }, Place { at: query.until, number: 0 });
    let (first, to) = if query.ascending { (oldest, newest) } else { (newest, oldest) };
    let mut behind = match query.after {
        Some(after) if query.ascending => after.max(first),
        Some(after) => after.min(first),
        None => first,
    };
    let all = query.action.is_none() && query.client.is_none() && query.source.is_none() && query.target.is_none();
    let mut records = Vec::new();
    loop {
        let end = if all { None } else { store.audit_end(query.ascending, Span { behind, to }, SLICE - 1).await? };
        let rest = Query { limit: query.limit - records.len(), ..query.clone() };
        records.extend(store.audit_read(&rest, Span { behind, to: end.unwrap_or(to) }).await?);
        if records.len() >= query.limit {
            return Ok(Found { next: records.last().map(|record| record.place), records });
        }
        match end {
            None => return Ok(Found { records, next: None }),
            Some(end) if began.elapsed() > PATIENCE => return Ok(Found { records, next: Some(end) }),
            Some(end) => behind = end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::{Expiry, Revocation};
    use crate::store::merge::plan;

    fn note(changes: usize) -> Note {
        let actor = Actor { client: Some("sts".into()), ..Actor::default() };
        Note { actor: Arc::new(actor), source: "sts".into(), cause: Cause::Request, at: 5, changes }
    }

    fn revoke(kind: Kind, value: &str) -> Change {
        Change::revoke(Revocation {
            target: Target { kind, iss: Some("https://sts".into()), value: value.into() },
            issued_before: None,
            exp: Expiry(100),
            revoked_at: 1,
            reason: None,
            source: "sts".into(),
            wso2_key: Some("secret".into()),
        })
    }

    fn of(notes: &[Note], changes: &[Change]) -> Vec<Draft> {
        let plan = plan(changes, vec![], 0, 0, 0);
        drafts(notes, changes, &plan.outcomes, &plan.rows)
    }

    #[test]
    fn each_request_has_what_it_changed_and_no_more() {
        let lift = |value| Change::Lift(Id::of(Kind::Session, Some("https://sts"), value));
        let changes = [
            revoke(Kind::Session, "a"),
            revoke(Kind::Session, "b"),
            revoke(Kind::Session, "a"),
            lift("b"),
            lift("nobody"),
            revoke(Kind::Session, "c"),
        ];
        let all = of(&[note(2), note(1), note(2), note(1)], &changes);
        let seen: Vec<_> = all.iter().map(|d| (d.action, d.seqs, d.ids.len() / 16, d.keys.len() / 8)).collect();
        // The second one repeats the first and says nothing new.
        use Action::{Lift, Revoke};
        assert_eq!(seen, [(Revoke, Some((1, 2)), 2, 2), (Lift, Some((2, 2)), 1, 1), (Revoke, Some((3, 3)), 1, 1)]);
        let detail: Detail = serde_json::from_str(&all[1].detail).unwrap();
        assert_eq!((detail.unchanged, detail.targets[0].value.as_deref()), (1, Some("b")));
    }

    #[test]
    fn nothing_of_a_token_is_in_a_record_and_it_is_found_all_the_same() {
        let changes = [revoke(Kind::Token, "the text of an opaque token"), revoke(Kind::Signature, "third segment")];
        let draft = of(&[note(2)], &changes).remove(0);
        for word in ["opaque", "third", "secret"] {
            assert!(!format!("{draft:?}").contains(word), "{}", draft.detail);
        }
        assert_eq!(draft.keys[..8], key(Kind::Token, "the text of an opaque token"));
        assert_eq!(draft.ids[16..], changes[1].id().0);
        let detail: Detail = serde_json::from_str(&draft.detail).unwrap();
        assert_eq!(detail.targets[0].iss.as_deref(), Some("https://sts"));
    }

    #[test]
    fn many_targets_have_ids_and_no_names() {
        let changes: Vec<_> = (0..MAX_NAMED + 1).map(|n| revoke(Kind::Subject, &n.to_string())).collect();
        let draft = of(&[note(changes.len())], &changes).remove(0);
        assert_eq!((draft.ids.len(), draft.detail.as_str()), ((MAX_NAMED + 1) * 16, "{}"));
    }

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Place { at: 1_795_364_400_123, number: 17 };
        assert_eq!(place.to_string().parse(), Ok(place));
        assert!("17".parse::<Place>().is_err() && "-1-2".parse::<Place>().is_err());
    }
}
