//! Reading the log back as rows, for outlets that send in a format of their own.

use serde::Deserialize;

use super::entry::Entry;
use super::{Ledger, Part};
use crate::revocation::{Epoch, Kind, Revocation, Row, Target};

/// Rows after a position.
#[derive(Debug)]
pub struct Rows {
    /// In `seq` order, tombstones included. Of a tombstone only seq, id, target and expiry are known.
    pub rows: Vec<Row>,
    /// The position that a reader has reached with them.
    pub seq: u64,
    /// Where the log stood.
    pub head: u64,
}

/// The members that only a whole row needs.
#[derive(Deserialize)]
struct Rest {
    #[serde(default)]
    revoked_at: i64,
    reason: Option<String>,
    #[serde(default)]
    source: String,
}

impl Ledger {
    /// Up to `limit` rows after `after`. `None` while not loaded, or when the epoch is no longer `epoch`.
    pub fn rows(&self, epoch: &Epoch, after: u64, limit: usize) -> Option<Rows> {
        self.read(epoch, after, limit, |_, _| true)
    }

    /// The same without those that lists which know no issuers leave out: of each kind and value there is one.
    pub fn listed(&self, epoch: &Epoch, after: u64, limit: usize) -> Option<Rows> {
        self.read(epoch, after, limit, Part::is_listed)
    }

    fn read(&self, epoch: &Epoch, after: u64, limit: usize, wanted: fn(&Part, usize) -> bool) -> Option<Rows> {
        // A view shares what it shows, so reading it back holds nobody up.
        let view = self.view(after).filter(|view| view.cursor.epoch == *epoch)?;
        let head = view.cursor.seq;
        let mut rows = Vec::new();
        for part in &view.parts {
            for i in part.alive().filter(|i| wanted(part, *i)) {
                if rows.len() == limit {
                    let seq = rows.last().map_or(after, |row: &Row| row.seq);
                    return Some(Rows { rows, seq, head });
                }
                rows.push(row(part.data(), i));
            }
        }
        Some(Rows { rows, seq: head.max(after), head })
    }
}

fn row(data: &super::segment::Data, i: usize) -> Row {
    let (json, kind) = (data.json(i), data.kind(i));
    let entry = Entry::read(json);
    let rest: Rest = serde_json::from_slice(json).expect("the ledger holds only JSON that it encoded");
    let iss = entry.iss(kind).filter(|_| kind != Kind::Issuer).map(str::to_owned);
    Row {
        seq: data.seq(i),
        id: data.id(i),
        lifted: data.is_lifted(i),
        revocation: Revocation {
            target: Target { kind, iss, value: entry.value(kind).to_owned() },
            issued_before: entry.issued_before,
            exp: data.exp(i),
            revoked_at: rest.revoked_at,
            reason: rest.reason,
            source: rest.source,
            wso2_key: data.wso2_key(i).map(str::to_owned),
        },
    }
}
