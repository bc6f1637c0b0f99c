//! Does a revocation hit this token? The rules of the design's table of targets, in one place.

use super::entry::Entry;
use crate::revocation::{Claims, Kind};

/// The first revocation that hits, narrowest kind first. `group` gives the wire forms of a kind and value.
pub fn check<'a>(claims: &Claims, mut group: impl FnMut(Kind, &str) -> Vec<&'a [u8]>) -> Option<&'a [u8]> {
    let known_issuer = claims.iss.as_ref().and_then(Option::as_deref);
    let values = [
        (Kind::Token, claims.jti.as_deref()),
        (Kind::TokenHash, claims.sha256.as_deref()),
        (Kind::Signature, claims.sig.as_deref()),
        (Kind::Session, claims.sid.as_deref()),
        (Kind::Subject, claims.sub.as_deref()),
        (Kind::Client, claims.client_id.as_deref()),
        (Kind::Key, claims.kid.as_deref()),
        (Kind::Issuer, known_issuer),
    ];
    values.into_iter().filter_map(|(kind, value)| Some((kind, value?))).find_map(|(kind, value)| {
        group(kind, value).into_iter().find(|json| {
            let entry = Entry::read(json);
            let same_issuer = match (entry.iss(kind), &claims.iss) {
                (None, _) | (Some(_), None) => true,
                (Some(wanted), Some(iss)) => iss.as_deref() == Some(wanted),
            };
            let early_enough = match (entry.issued_before, claims.iat) {
                (Some(before), Some(iat)) => iat < before,
                _ => true,
            };
            same_issuer && early_enough
        })
    })
}
