//! Subject identifiers (RFC 9493 §3, with the formats that OpenID SSF 1.0 §3 adds): whom an event or a request is about,
//! and which of our targets that is.
//!
//! Members that a format does not have are passed over (SSF 1.0 §4.2.3), and so are formats that nobody here knows; a format that
//! is known and lacks a member of its own is malformed.

use serde_json::{Map, Value};

use crate::revocation::{Kind, Target};

/// The most identifiers in `aliases`. Real ones have two or three.
const MAX_ALIASES: usize = 100;

/// A format whose value stands for the claim `sub` when a setting says so, and for nothing otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// `account`: an acct URI (RFC 7565).
    Account,
    /// `email`.
    Email,
    /// `opaque`.
    Opaque,
    /// `phone_number`.
    PhoneNumber,
    /// `did`: a DID URL.
    Did,
    /// `uri`.
    Uri,
}

impl Named {
    /// Every one of them.
    pub const ALL: [Named; 6] =
        [Named::Account, Named::Email, Named::Opaque, Named::PhoneNumber, Named::Did, Named::Uri];

    /// The name of the format.
    pub const fn name(self) -> &'static str {
        match self {
            Named::Account => "account",
            Named::Email => "email",
            Named::Opaque => "opaque",
            Named::PhoneNumber => "phone_number",
            Named::Did => "did",
            Named::Uri => "uri",
        }
    }

    /// The member that holds the value.
    const fn member(self) -> &'static str {
        match self {
            Named::Account | Named::Uri => "uri",
            Named::Email => "email",
            Named::Opaque => "id",
            Named::PhoneNumber => "phone_number",
            Named::Did => "url",
        }
    }

    /// The format of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|named| named.name() == name)
    }
}

/// Whom something is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `iss_sub`: the pair of claims.
    IssSub {
        /// `iss`.
        iss: String,
        /// `sub`.
        sub: String,
    },
    /// `jwt_id` (SSF 1.0 §3.5.1): one token.
    JwtId {
        /// `iss`.
        iss: String,
        /// `jti`.
        jti: String,
    },
    /// A value that says nothing of claims by itself.
    Named(Named, String),
    /// `aliases`: several identifiers of the same.
    Aliases(Vec<Subject>),
    /// `complex` (SSF 1.0 §3.3): members that narrow each other down, by their names.
    Complex(Vec<(String, Subject)>),
    /// Something that no token has: a SAML assertion, addresses, a format of somebody's own.
    Other,
}

/// Why a subject identifier cannot be read. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// How identifiers become targets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mapping<'a> {
    /// The formats that stand for `sub`.
    pub subject_claim: &'a [Named],
    /// The issuer of what is named without one.
    pub issuer: Option<&'a str>,
}

/// The members of complex subjects that SSF 1.0 §3.3 names.
const MEMBERS: [&str; 7] = ["user", "device", "session", "application", "tenant", "org_unit", "group"];

impl Subject {
    /// Reads a subject identifier, a complex one included.
    pub fn read(value: &Value) -> Result<Self, Malformed> {
        let members = object(value)?;
        match format(members)? {
            Some(name) if name == "complex" => complex(members),
            // Drafts before `format` was there told a complex subject by its members alone.
            None if MEMBERS.iter().any(|name| members.get(*name).is_some_and(Value::is_object)) => complex(members),
            None => Err(Malformed("a subject identifier has no format")),
            Some(name) => simple(&name, members),
        }
    }

    /// What names a user or a token, as targets: all of them for `aliases`, the user's for a complex subject.
    pub fn targets(&self, mapping: &Mapping<'_>) -> Vec<Target> {
        match self {
            Subject::IssSub { iss, sub } => vec![target(Kind::Subject, Some(iss), sub)],
            Subject::JwtId { iss, jti } => vec![target(Kind::Token, Some(iss), jti)],
            Subject::Named(named, value) if mapping.subject_claim.contains(named) => {
                vec![target(Kind::Subject, mapping.issuer, value)]
            }
            Subject::Aliases(all) => all.iter().flat_map(|one| one.targets(mapping)).collect(),
            Subject::Complex(members) => match members.iter().find(|(name, _)| name == "user") {
                Some((_, user)) => user.targets(mapping),
                // Besides a user only a token can be told by an identifier alone.
                None => members
                    .iter()
                    .filter(|(_, member)| matches!(member, Subject::JwtId { .. }))
                    .flat_map(|(_, member)| member.targets(mapping))
                    .collect(),
            },
            Subject::Named(..) | Subject::Other => Vec::new(),
        }
    }

    /// What an event that ends a session is about: the session when one is named, else as [`Subject::targets`].
    ///
    /// A simple `opaque` subject is a session (CAEP 1.0 §3.1.2, first example) unless a setting says that it is a user.
    pub fn ended(&self, mapping: &Mapping<'_>) -> Vec<Target> {
        match self {
            Subject::Named(Named::Opaque, _) if !mapping.subject_claim.contains(&Named::Opaque) => {
                self.session(mapping)
            }
            Subject::Aliases(all) => all.iter().flat_map(|one| one.ended(mapping)).collect(),
            Subject::Complex(members) => {
                let session = members.iter().find(|(name, _)| name == "session");
                let targets = session.map(|(_, session)| session.session(mapping)).unwrap_or_default();
                // A session that cannot be told ends with everything of its user: too much, and not too little.
                if targets.is_empty() { self.targets(mapping) } else { targets }
            }
            other => other.targets(mapping),
        }
    }

    /// The sessions that the member `session` names.
    fn session(&self, mapping: &Mapping<'_>) -> Vec<Target> {
        match self {
            Subject::Named(Named::Opaque, id) => vec![target(Kind::Session, mapping.issuer, id)],
            Subject::IssSub { iss, sub } => vec![target(Kind::Session, Some(iss), sub)],
            Subject::JwtId { iss, jti } => vec![target(Kind::Token, Some(iss), jti)],
            Subject::Aliases(all) => all.iter().flat_map(|one| one.session(mapping)).collect(),
            Subject::Named(..) | Subject::Complex(_) | Subject::Other => Vec::new(),
        }
    }
}

fn target(kind: Kind, iss: Option<&str>, value: &str) -> Target {
    Target { kind, iss: iss.map(str::to_owned), value: value.to_owned() }
}

fn object(value: &Value) -> Result<&Map<String, Value>, Malformed> {
    value.as_object().ok_or(Malformed("a subject identifier is not an object"))
}

/// The name of the format. Google's transmitter calls it `subject_type` (RISC 1.0 §3.1), and drafts wrote `iss-sub`.
fn format(members: &Map<String, Value>) -> Result<Option<String>, Malformed> {
    let name = |value: &Value| match value.as_str() {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(Malformed("the format of a subject identifier is not a text")),
    };
    match (members.get("format"), members.get("subject_type")) {
        (Some(format), _) => name(format).map(Some),
        (None, Some(old)) => name(old).map(|name| Some(name.replace('-', "_"))),
        (None, None) => Ok(None),
    }
}

fn text(members: &Map<String, Value>, name: &str) -> Result<String, Malformed> {
    match members.get(name).and_then(Value::as_str) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(Malformed("a subject identifier lacks a member that its format requires")),
    }
}

fn simple(name: &str, members: &Map<String, Value>) -> Result<Subject, Malformed> {
    let text = |member| text(members, member);
    match name {
        "iss_sub" => Ok(Subject::IssSub { iss: text("iss")?, sub: text("sub")? }),
        "jwt_id" => Ok(Subject::JwtId { iss: text("iss")?, jti: text("jti")? }),
        "saml_assertion_id" => {
            text("issuer")?;
            text("assertion_id")?;
            Ok(Subject::Other)
        }
        "aliases" => aliases(members),
        // Before RFC 9493.
        "phone" => Ok(Subject::Named(Named::PhoneNumber, text("phone").or_else(|_| text("phone_number"))?)),
        _ => match Named::from_name(name) {
            Some(named) => Ok(Subject::Named(named, text(named.member())?)),
            None => Ok(Subject::Other),
        },
    }
}

fn aliases(members: &Map<String, Value>) -> Result<Subject, Malformed> {
    let all = members.get("identifiers").and_then(Value::as_array).filter(|all| !all.is_empty());
    let all = all.ok_or(Malformed("aliases without identifiers"))?;
    if all.len() > MAX_ALIASES {
        return Err(Malformed("aliases with more than 100 identifiers"));
    }
    let one = |value: &Value| {
        let members = object(value)?;
        match format(members)?.as_deref() {
            None => Err(Malformed("a subject identifier has no format")),
            Some("aliases" | "complex") => Err(Malformed("aliases of aliases, or of something complex")),
            Some(name) => simple(name, members),
        }
    };
    Ok(Subject::Aliases(all.iter().map(one).collect::<Result<_, _>>()?))
}

fn complex(members: &Map<String, Value>) -> Result<Subject, Malformed> {
    let mut read = Vec::new();
    for (name, value) in members {
        if matches!(name.as_str(), "format" | "subject_type") {
            continue;
        }
        let member = object(value).and_then(|members| match format(members)?.as_deref() {
            None => Err(Malformed("a subject identifier has no format")),
            Some("complex") => Err(Malformed("a complex subject within another")),
            Some(name) => simple(name, members),
        });
        match member {
            Ok(member) => read.push((name.clone(), member)),
            Err(malformed) if MEMBERS.contains(&name.as_str()) => return Err(malformed),
            // A member of somebody's own.
            Err(_) => {}
        }
    }
    if read.is_empty() {
        return Err(Malformed("a complex subject without members"));
    }
    Ok(Subject::Complex(read))
}

#[cfg(test)]
mod tests;
