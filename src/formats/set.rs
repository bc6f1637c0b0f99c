//! Security Event Tokens (RFC 8417): what their claims say, and what the events of OpenID SSF, CAEP and RISC 1.0 revoke.
//!
//! Only claims are read here; that somebody who is believed has signed them is checked before.
//!
//! An event revokes what was issued up to the second in which it happened: `issued_before` is the second after
//! `event_timestamp` (CAEP 1.0 §2), else `toe` (RFC 8417 §2.2), else `iat`.

use serde_json::{Map, Value};

use super::subject::{Malformed, Mapping, Subject};
use crate::intake::{Lifetime, NewRevocation, NewTarget};
use crate::revocation::{Kind, Target};

/// What stands before the events of the OpenID Foundation.
const BASE: &str = "https://schemas.openid.net/secevent/";
/// Seconds after this lie in the year 5138: drafts of CAEP had milliseconds.
const LAST_SECOND: f64 = 1e11;
/// The longest `state` or `status` that is shown, in characters.
const MAX_SHOWN: usize = 100;

/// The events that are taken only when they are named in the settings, by the last part of their URI.
pub const OPTIONAL_EVENTS: [&str; 2] = ["credential-change", "token-claims-change"];

/// A Security Event Token.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// `iss`.
    pub iss: String,
    /// `jti`.
    pub jti: String,
    /// `iat`, whole seconds.
    pub iat: i64,
    /// Whether it names those that it is for.
    pub has_audience: bool,
    toe: Option<i64>,
    subject: Option<Subject>,
    events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq)]
struct Event {
    is: What,
    /// The last part of the URI, for people; a fixed word.
    name: &'static str,
    at: Option<i64>,
    /// What drafts had in place of `sub_id`.
    subject: Option<Subject>,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    SessionRevoked,
    Revoked,
    /// Counts only when it is named in the settings.
    Optional,
    Enabled,
    Verification(Option<String>),
    StreamUpdated(Option<String>),
    Other,
}

/// How events are understood.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// How subjects become targets. Its issuer is taken instead of the token's for subjects that name none.
    pub mapping: Mapping<'a>,
    /// Which of [`OPTIONAL_EVENTS`] count.
    pub events: &'a [String],
}

/// What a token asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// What is revoked.
    pub revoke: Vec<NewRevocation>,
    /// What is lifted when it was revoked by this second (NumericDate) or before.
    pub lift: Vec<(Target, i64)>,
    /// A verification event (SSF 1.0 §8.1.4.1), and its `state`, fit to be shown.
    pub verification: Option<Option<String>>,
    /// The status of the stream is another one (SSF 1.0 §8.1.5), fit to be shown.
    pub stream: Option<Option<String>>,
    /// Why nothing is asked for: a stable code.
    pub ignored: Option<&'static str>,
}

impl Set {
    /// Reads the claims of a token.
    pub fn read(claims: &Map<String, Value>) -> Result<Self, Malformed> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let iss = text("iss").ok_or(Malformed("the claim iss is missing"))?;
        let jti = text("jti").ok_or(Malformed("the claim jti is missing"))?;
        let iat = claims.get("iat").and_then(seconds).ok_or(Malformed("the claim iat is missing or not a time"))?;
        let events = claims.get("events").and_then(Value::as_object).filter(|events| !events.is_empty());
        let events = events.ok_or(Malformed("the claim events is missing, empty or not an object"))?;
        if events.keys().any(|uri| uri.starts_with(BASE)) {
            // Else an access or ID token could be taken for an event, or the other way round.
            if claims.contains_key("sub") {
                return Err(Malformed("the claim sub is forbidden (SSF 1.0 §4.1.2); sub_id names the subject"));
            }
            if claims.contains_key("exp") {
                return Err(Malformed("the claim exp is forbidden (SSF 1.0 §4.1.7)"));
            }
        }
        let subject = claims.get("sub_id").map(Subject::read).transpose()?;
        let read = |(uri, payload): (&String, &Value)| event(uri, payload, subject.is_some());
        Ok(Self {
            iss: iss.to_owned(),
            jti: jti.to_owned(),
            iat,
            has_audience: claims.get("aud").is_some_and(|aud| !aud.is_null()),
            toe: claims.get("toe").and_then(seconds),
            events: events.iter().map(read).collect::<Result<_, _>>()?,
            subject,
        })
    }

    /// What it asks for.
    pub fn effects(&self, options: &Options<'_>) -> Effects {
        let mut effects = Effects::default();
        let mapping = Mapping { issuer: options.mapping.issuer.or(Some(&self.iss)), ..options.mapping };
        let mut ignored = "unknown_event";
        for event in &self.events {
            let at = event.at.or(self.toe).unwrap_or(self.iat);
            let subject = self.subject.as_ref().or(event.subject.as_ref());
            let targets = |ended: bool| match subject {
                Some(subject) if ended => subject.ended(&mapping),
                Some(subject) => subject.targets(&mapping),
                None => Vec::new(),
            };
            let revoked = match &event.is {
                What::SessionRevoked => targets(true),
                What::Revoked => targets(false),
                What::Optional if options.events.iter().any(|name| name == event.name) => targets(false),
                What::Enabled => {
                    let mut targets = targets(false);
                    targets.retain(|target| target.kind == Kind::Subject);
                    if targets.is_empty() {
                        ignored = "unsupported_subject";
                    }
                    effects.lift.extend(targets.into_iter().map(|target| (target, at)));
                    continue;
                }
                What::Verification(state) => {
                    effects.verification = Some(state.clone());
                    continue;
                }
                What::StreamUpdated(status) => {
                    effects.stream = Some(status.clone());
                    continue;
                }
                What::Optional | What::Other => continue,
            };
            if revoked.is_empty() {
                ignored = "unsupported_subject";
            }
            for target in revoked {
                // Several URIs are several names of one event (SSF 1.0 §4.2.1), and aliases may repeat themselves.
                let known = |item: &NewRevocation| matches!(&item.target, NewTarget::Named(t) if *t == target);
                if !effects.revoke.iter().any(known) {
                    let issued_before = target.kind.has_issued_before().then(|| at.saturating_add(1));
                    let (target, lifetime) = (NewTarget::Named(target), Lifetime::Unsaid);
                    let reason = Some(event.name.to_owned());
                    effects.revoke.push(NewRevocation { target, lifetime, issued_before, reason });
                }
            }
        }
        if !effects.revoke.is_empty() {
            effects.lift.clear();
        } else if effects.lift.is_empty() && effects.verification.is_none() && effects.stream.is_none() {
            effects.ignored = Some(ignored);
        }
        effects
    }
}

fn event(uri: &str, payload: &Value, has_subject: bool) -> Result<Event, Malformed> {
    let payload = payload.as_object().ok_or(Malformed("an event is not an object (RFC 8417 §2.2)"))?;
    let shown = |name: &str| payload.get(name).and_then(Value::as_str).map(shown);
    let (is, name) = match uri.strip_prefix(BASE).unwrap_or_default() {
        "caep/event-type/session-revoked" => (What::SessionRevoked, "session-revoked"),
        "caep/event-type/token-claims-change" => (What::Optional, "token-claims-change"),
        "caep/event-type/credential-change" => match payload.get("change_type").and_then(Value::as_str) {
            Some("revoke" | "delete" | "update") => (What::Optional, "credential-change"),
            _ => (What::Other, ""),
        },
        "risc/event-type/account-disabled" => (What::Revoked, "account-disabled"),
        "risc/event-type/account-purged" => (What::Revoked, "account-purged"),
        "risc/event-type/sessions-revoked" => (What::Revoked, "sessions-revoked"),
        "risc/event-type/credential-compromise" => (What::Revoked, "credential-compromise"),
        "risc/event-type/account-credential-change-required" => (What::Revoked, "account-credential-change-required"),
        "risc/event-type/account-enabled" => (What::Enabled, "account-enabled"),
        "ssf/event-type/verification" => (What::Verification(shown("state")), "verification"),
        "ssf/event-type/stream-updated" => (What::StreamUpdated(shown("status")), "stream-updated"),
        // The names of drafts and of Google's transmitter. They had no subject.
        "sse/event-type/verification" | "risc/event-type/verification" => {
            return Ok(Event { is: What::Verification(shown("state")), name: "verification", at: None, subject: None });
        }
        "sse/event-type/stream-updated" => {
            return Ok(Event {
                is: What::StreamUpdated(shown("status")),
                name: "stream-updated",
                at: None,
                subject: None,
            });
        }
        _ => (What::Other, ""),
    };
    if is == What::Other {
        return Ok(Event { is, name, at: None, subject: None });
    }
    let subject = match payload.get("subject") {
        Some(subject) if !has_subject => Some(Subject::read(subject)?),
        None if !has_subject => return Err(Malformed("the claim sub_id is missing (SSF 1.0 §3.1)")),
        _ => None,
    };
    Ok(Event { is, name, at: payload.get("event_timestamp").and_then(seconds), subject })
}

/// A time in whole seconds, rounded down.
fn seconds(value: &Value) -> Option<i64> {
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0)?;
    // `as` saturates, and JSON has no NaN.
    Some(if seconds > LAST_SECOND { (seconds / 1000.0) as i64 } else { seconds as i64 })
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests;
