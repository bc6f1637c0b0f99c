//! Frames of STOMP; the first byte picks how they are cut.

use bytes::BytesMut;
use revocation_hub::brokers::stomp::frame::{Decoder, Item};

/// Everything in `bytes`, when they arrive in pieces of this size; `None` when they are not STOMP.
fn decode(bytes: &[u8], piece: usize) -> Option<Vec<Item>> {
    let (mut decoder, mut buffer, mut items) = (Decoder::new(64), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        while let Some(item) = decoder.decode(&mut buffer).ok()? {
            items.push(item);
        }
    }
    Some(items)
}

/// Panics at what must not be.
pub fn run(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    // However the network cuts them.
    assert_eq!(decode(bytes, usize::MAX), decode(bytes, usize::from(*first) + 1));
}
