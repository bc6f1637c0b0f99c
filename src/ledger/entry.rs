//! Reading an entry's text back. The ledger keeps each revocation as its wire form and nothing beside it; the few
//! places that need a member of it (removal, a check that hit, the WSO2 forms) read it from there.

use std::borrow::Cow;

use serde::Deserialize;

use crate::revocation::Kind;

/// The members of the wire form that the hub itself reads back.
#[derive(Debug, Deserialize)]
pub struct Entry<'a> {
    #[serde(borrow)]
    iss: Option<Cow<'a, str>>,
    #[serde(borrow)]
    jti: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sha256: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sig: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sub: Option<Cow<'a, str>>,
    #[serde(borrow)]
    client_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    /// Tokens issued before this second are hit.
    pub issued_before: Option<i64>,
}

impl<'a> Entry<'a> {
    /// Reads an entry that this process encoded itself.
    pub fn read(text: &'a [u8]) -> Self {
        serde_json::from_slice(text).expect("the ledger holds only JSON that it encoded")
    }

    /// The target's value.
    pub fn value(&self, kind: Kind) -> &str {
        let value = match kind {
            Kind::Token => &self.jti,
            Kind::TokenHash => &self.sha256,
            Kind::Signature => &self.sig,
            Kind::Session => &self.sid,
            Kind::Subject => &self.sub,
            Kind::Client => &self.client_id,
            Kind::Key => &self.kid,
            Kind::Issuer => &self.iss,
        };
        value.as_deref().unwrap_or_default()
    }

    /// The issuer the target is confined to; for [`Kind::Issuer`] the issuer is the value.
    pub fn iss(&self, kind: Kind) -> Option<&str> {
        if kind == Kind::Issuer { None } else { self.iss.as_deref() }
    }
}
