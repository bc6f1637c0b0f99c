//! A consistent view of the ledger at one cursor, cheap to take and unaffected by what happens afterwards.

use std::sync::Arc;

use super::pieces::{Coding, Organization, Piece, Pieces, Shape, plain};
use super::segment::{Data, Marks};
use crate::revocation::Cursor;

/// The part of a view that lies in one segment.
pub struct Part {
    data: Arc<Data>,
    marks: Arc<Marks>,
    pieces: Arc<Pieces>,
    from: usize,
    organization: Organization,
}

impl Part {
    pub(super) fn new(segment: &super::segment::Segment, after: u64, organization: &Organization) -> Self {
        Self {
            data: segment.data.clone(),
            marks: segment.marks.clone(),
            pieces: segment.pieces.clone(),
            from: segment.first_after(after),
            organization: organization.clone(),
        }
    }

    /// The entries of the part that are alive, by their index in [`Part::data`].
    pub(super) fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (self.from..self.data.len()).filter(|i| !self.marks.is_dead(*i))
    }

    /// Whether entry `i` stands in lists which know no issuers: of each kind and value one does.
    pub(super) fn is_listed(&self, i: usize) -> bool {
        !self.marks.is_shadowed(i)
    }

    /// The segment's entries.
    pub(super) fn data(&self) -> &Data {
        &self.data
    }

    /// The piece of a list, if it is at hand without work.
    pub fn ready(&self, shape: Shape, coding: Coding) -> Option<Piece> {
        if self.from > 0 { None } else { self.pieces.get(shape, coding).cloned() }
    }

    /// The piece of a list. Takes up to some milliseconds of processor time when nobody has made it yet; do not call it
    /// on a thread that serves others.
    pub fn piece(&self, shape: Shape, coding: Coding) -> Piece {
        let make = || Piece::encode(plain(&self.data, &self.marks, shape, self.from, &self.organization), coding);
        let native = !matches!(shape, Shape::Wso2Tokens | Shape::Wso2Legacy | Shape::Wso2Subjects | Shape::Wso2Clients);
        // A part of a segment is nobody else's, and the plain native lists are a copy of what is held already.
        if self.from > 0 || (native && coding == Coding::Identity) {
            return make();
        }
        self.pieces.get_or_make(shape, coding, make).clone()
    }
}

/// The ledger as it stood at [`View::cursor`].
pub struct View {
    /// Where the view stands.
    pub cursor: Cursor,
    /// How many revocations (not tombstones) were live.
    pub live: usize,
    /// Its parts, in the order of the log.
    pub parts: Vec<Part>,
}
