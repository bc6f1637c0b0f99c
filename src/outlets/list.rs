//! Lists as HTTP bodies: put together from the ledger's encoded pieces, never compressed per request.

use std::sync::Arc;

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use tokio::task::yield_now;

use super::Load;
use crate::http::flow::Flow;
use crate::ledger::{Coding, Piece, Shape, View};

/// One step of writing a list.
pub enum Step {
    /// Text as it is.
    Text(String),
    /// All items of a shape, with separators.
    List(Shape),
}

/// How many bytes of a list the connection gets at once. The pieces of the ledger are larger and shared; what a connection
/// has got it copies.
const SLICE: usize = 64 << 10;

/// A gzip member around raw DEFLATE (RFC 1952 §2.3): no name, no time, unknown system.
const GZIP_HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty final block with fixed codes (RFC 1951 §3.2.6).
const DEFLATE_END: &[u8] = &[0x03, 0x00];

/// The body of a list; `load` lives as long as it is being sent. Each slice is made when `flow` says that the socket has
/// taken the one before, so a reader that stands still holds no more than one piece of the list. Pieces that nobody has asked for yet are made on the blocking threads, one ahead of the network.
pub fn body(view: View, steps: Vec<Step>, coding: Coding, load: Load, flow: Flow) -> Body {
    let mut parts: Vec<_> = view.parts.into_iter().map(Arc::new).map(Some).collect();
    let last = steps.iter().rposition(|step| matches!(step, Step::List(_)));
    Body::from_stream(async_stream::stream! {
        let _load = load;
        let mut out = Assembly::new(coding);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Text(text) => out.add(&Piece::glue(text.as_bytes(), coding)),
                Step::List(shape) => {
                    let mut first = true;
                    for part in &mut parts {
                        // What has been sent is let go, so that a slow reader keeps no more of an old list alive than it must.
                        let part = if last == Some(number) { part.take() } else { part.clone() };
                        let Some(part) = part else { continue };
                        let piece = match part.ready(shape, coding) {
                            Some(piece) => piece,
                            None => {
                                match tokio::task::spawn_blocking(move || part.piece(shape, coding)).await {
                                    Ok(piece) => piece,
                                    // The connection breaks off, so that no client takes half a list for the whole.
                                    Err(error) => {
                                        yield Err(std::io::Error::other(error));
                                        return;
                                    }
                                }
                            }
                        };
                        if piece.is_empty() {
                            continue;
                        }
                        if !first && !shape.separator().is_empty() {
                            out.add(&Piece::glue(shape.separator(), coding));
                        }
                        first = false;
                        if let Some(glue) = out.take() {
                            yield Ok(glue);
                        }
                        out.count(&piece);
                        let mut bytes = piece.bytes;
                        while !bytes.is_empty() {
                            flow.open().await;
                            yield Ok(bytes.split_to(bytes.len().min(SLICE)));
                            if !bytes.is_empty() {
                                // It is sent before there is more, and live streams have their turn.
                                yield_now().await;
                            }
                        }
                    }
                }
            }
        }
        if let Some(end) = out.finish() {
            yield Ok::<Bytes, std::io::Error>(end);
        }
    })
}

/// What stands between the pieces, and the sums over all of it.
struct Assembly {
    coding: Coding,
    glue: BytesMut,
    crc: crc32fast::Hasher,
    plain_len: u64,
}

impl Assembly {
    fn new(coding: Coding) -> Self {
        let mut glue = BytesMut::new();
        if coding == Coding::Gzip {
            glue.extend_from_slice(GZIP_HEADER);
        }
        Self { coding, glue, crc: crc32fast::Hasher::new(), plain_len: 0 }
    }

    fn count(&mut self, piece: &Piece) {
        self.crc.combine(&piece.crc);
        self.plain_len += piece.plain_len;
    }

    fn add(&mut self, piece: &Piece) {
        self.count(piece);
        self.glue.extend_from_slice(&piece.bytes);
    }

    fn take(&mut self) -> Option<Bytes> {
        (!self.glue.is_empty()).then(|| self.glue.split().freeze())
    }

    fn finish(mut self) -> Option<Bytes> {
        if self.coding == Coding::Gzip {
            self.glue.extend_from_slice(DEFLATE_END);
            self.glue.put_u32_le(self.crc.clone().finalize());
            // The length modulo 2^32 (RFC 1952 §2.3.1).
            self.glue.put_u32_le(self.plain_len as u32);
        }
        self.take()
    }
}
