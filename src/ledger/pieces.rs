//! Encoded pieces: what a segment contributes to a list, compressed once and then shared by every reader.
//!
//! A list is put together from pieces without compressing anything again. For gzip a piece is raw DEFLATE ended by a
//! sync flush (RFC 1951 §3.2.4 leaves the stream byte-aligned), so that pieces concatenate to *one* member, whose CRC-32
//! is combined from theirs: several members would be legal (RFC 1952 §2.2) but some clients stop after the first. For
//! zstd a piece is a frame of its own; concatenated frames are defined to decode to the concatenation (RFC 8878 §3.1).

use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::entry::Entry;
use super::segment::{Data, Marks};
use crate::formats::wso2::announce::milliseconds;
use crate::formats::wso2::naming::{self, Generation, Name};
use crate::revocation::Kind;

/// Which list a piece belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Shape {
    /// Revocations in wire form, separated by commas.
    Json,
    /// Revocations in wire form, one a line.
    Ndjson,
    /// Tombstones in wire form, separated by commas.
    LiftedJson,
    /// Tombstones in wire form with `"lifted":true`, one a line.
    LiftedNdjson,
    /// Items of WSO2's `/revokedjwt` since 3.2: `jwt_signature`, `expiry_time` in milliseconds.
    Wso2Tokens,
    /// Items of the same list in 3.0 and 3.1: `jwtSignature`, `expiryTime` in seconds.
    Wso2Legacy,
    /// Items of `revokedJWTSubjectEntityList` (4.3).
    Wso2Subjects,
    /// Items of `revokedJWTConsumerKeyList` (4.3).
    Wso2Clients,
}

impl Shape {
    const COUNT: usize = 8;

    /// What stands between two pieces.
    pub fn separator(self) -> &'static [u8] {
        match self {
            Shape::Ndjson | Shape::LiftedNdjson => b"",
            _ => b",",
        }
    }
}

/// How a piece is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// zstd (RFC 8878).
    Zstd,
}

impl Coding {
    const COUNT: usize = 3;

    /// The name in `Content-Encoding`.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Coding::Identity => None,
            Coding::Gzip => Some("gzip"),
            Coding::Zstd => Some("zstd"),
        }
    }
}

/// A piece of a list.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    /// The encoded bytes.
    pub bytes: Bytes,
    /// The length before compression.
    pub plain_len: u64,
    /// CRC-32 of the plain bytes; only for [`Coding::Gzip`].
    pub crc: crc32fast::Hasher,
}

impl Piece {
    /// Whether the segment has nothing for this list.
    pub fn is_empty(&self) -> bool {
        self.plain_len == 0
    }

    /// Compresses `plain`.
    pub fn encode(plain: Vec<u8>, coding: Coding) -> Self {
        let plain_len = plain.len() as u64;
        if plain.is_empty() {
            return Self::default();
        }
        let mut crc = crc32fast::Hasher::new();
        let bytes = match coding {
            Coding::Identity => plain,
            Coding::Gzip => {
                crc.update(&plain);
                deflate(&plain)
            }
            // Level 1: ids are random and do not compress below their entropy; higher levels only cost time.
            Coding::Zstd => zstd::bulk::compress(&plain, 1).expect("compressing into memory cannot fail"),
        };
        Self { bytes: bytes.into(), plain_len, crc }
    }

    /// A few bytes between the pieces, not worth compressing.
    pub fn glue(plain: &[u8], coding: Coding) -> Self {
        let mut crc = crc32fast::Hasher::new();
        let bytes = match coding {
            Coding::Gzip => {
                crc.update(plain);
                stored(plain)
            }
            Coding::Identity | Coding::Zstd => return Self::encode(plain.to_vec(), coding),
        };
        Self { bytes: bytes.into(), plain_len: plain.len() as u64, crc }
    }
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    // Level 2: zlib-rs' level 1 has fixed codes, which makes random hexadecimal half as large again; higher levels win
    // nothing.
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::new(2));
    encoder.write_all(plain).expect("compressing into memory cannot fail");
    // A sync flush; `finish` would write a final block.
    encoder.flush().expect("compressing into memory cannot fail");
    std::mem::take(encoder.get_mut())
}

/// One stored, non-final DEFLATE block (RFC 1951 §3.2.4).
fn stored(plain: &[u8]) -> Vec<u8> {
    let len = u16::try_from(plain.len()).expect("glue is short");
    let mut block = vec![0];
    block.extend_from_slice(&len.to_le_bytes());
    block.extend_from_slice(&(!len).to_le_bytes());
    block.extend_from_slice(plain);
    block
}

/// The cache of a segment: each piece is made by whoever needs it first, and others wait for that one.
#[derive(Default)]
pub struct Pieces([OnceLock<Piece>; Shape::COUNT * Coding::COUNT]);

impl Pieces {
    fn cell(&self, shape: Shape, coding: Coding) -> &OnceLock<Piece> {
        &self.0[shape as usize * Coding::COUNT + coding as usize]
    }

    /// The piece, if somebody has made it.
    pub fn get(&self, shape: Shape, coding: Coding) -> Option<&Piece> {
        self.cell(shape, coding).get()
    }

    /// The piece, made now if need be; that can take a few milliseconds of processor time.
    pub fn get_or_make(&self, shape: Shape, coding: Coding, make: impl FnOnce() -> Piece) -> &Piece {
        self.cell(shape, coding).get_or_init(make)
    }

    /// Whether anything is cached.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|cell| cell.get().is_none())
    }
}

/// What WSO2's object shape says of every rule's tenant.
pub type Organization = std::sync::Arc<str>;

/// The plain text of one list over the entries `from..` of a segment.
pub fn plain(data: &Data, marks: &Marks, shape: Shape, from: usize, organization: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let alive = (from..data.len()).filter(|i| !marks.is_dead(*i));
    match shape {
        Shape::Ndjson if from == 0 && marks.gone() == 0 && !(0..data.len()).any(|i| data.is_lifted(i)) => {
            out.extend_from_slice(data.text());
        }
        Shape::Json | Shape::LiftedJson => {
            out.reserve(data.text().len());
            for i in alive.filter(|i| data.is_lifted(*i) == (shape == Shape::LiftedJson)) {
                out.extend_from_slice(data.json(i));
                out.push(b',');
            }
            out.pop();
        }
        Shape::Ndjson => {
            out.reserve(data.text().len());
            alive.filter(|i| !data.is_lifted(*i)).for_each(|i| out.extend_from_slice(data.line(i)));
        }
        Shape::LiftedNdjson => {
            for i in alive.filter(|i| data.is_lifted(*i)) {
                let json = data.json(i);
                out.extend_from_slice(&json[..json.len() - 1]);
                out.extend_from_slice(b",\"lifted\":true}\n");
            }
        }
        Shape::Wso2Tokens | Shape::Wso2Legacy | Shape::Wso2Subjects | Shape::Wso2Clients => {
            // One of a jti says it for all its issuers, but each has its own signature.
            let own_key = |i: usize| shape == Shape::Wso2Legacy && data.wso2_key(i).is_some();
            for i in alive.filter(|i| !data.is_lifted(*i) && (!marks.is_shadowed(*i) || own_key(*i))) {
                wso2_item(&mut out, data, i, shape, organization);
            }
            out.pop();
        }
    }
    out
}

/// Writes entry `i` and a comma, if the entry belongs into the list. Member order as WSO2 writes it (Jackson, compact).
fn wso2_item(out: &mut Vec<u8>, data: &Data, i: usize, shape: Shape, organization: &str) {
    let kind = data.kind(i);
    let exp = data.exp(i);
    let text = |s: &str| serde_json::to_string(s).expect("a string is JSON");
    // Reading an entry costs; most entries of a list of rules are not rules.
    let read = || Entry::read(data.json(i));
    let key = |name: Name<'_>| match name {
        Name::Kept(key) => text(key),
        Name::Value => text(read().value(kind)),
    };
    let item = match (shape, kind) {
        (Shape::Wso2Tokens, _) => {
            let Some(name) = naming::name(Generation::Jti, kind, data.wso2_key(i)) else { return };
            format!(r#"{{"jwt_signature":{},"expiry_time":{}}},"#, key(name), milliseconds(exp))
        }
        (Shape::Wso2Legacy, _) => {
            let Some(name) = naming::name(Generation::Signature, kind, data.wso2_key(i)) else { return };
            format!(r#"{{"jwtSignature":{},"expiryTime":{}}},"#, key(name), exp.0)
        }
        (Shape::Wso2Subjects, Kind::Subject) => {
            let entry = read();
            format!(
                r#"{{"entity_id":{},"entity_type":"USER_ID","revocation_time":{},"organization":{}}},"#,
                text(entry.value(kind)),
                before(&entry),
                text(organization)
            )
        }
        (Shape::Wso2Clients, Kind::Client) => {
            let entry = read();
            format!(
                r#"{{"consumer_key":{},"revocation_time":{},"type":null,"organization":{}}},"#,
                text(entry.value(kind)),
                before(&entry),
                text(organization)
            )
        }
        _ => return,
    };
    out.extend_from_slice(item.as_bytes());
}

/// WSO2 compares milliseconds: `revocation_time > iat`.
fn before(entry: &Entry<'_>) -> i64 {
    entry.issued_before.unwrap_or(0).saturating_mul(1000)
}
