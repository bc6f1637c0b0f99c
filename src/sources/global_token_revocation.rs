//! Global Token Revocation (draft-parecki-oauth-global-token-revocation-05 §3): `POST /global-token-revocation` revokes
//! every token that a subject has so far.
//!
//! The caller is a client of this hub, or, when the source has `audiences`, whoever shows a JWT of the type
//! `global-token-revocation+jwt` that one of the source's issuers has signed for this endpoint, as Okta's Universal Logout
//! does. Such an assertion counts once.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use serde_json::{Map, Value};

use super::ssf;
use super::start::Served;
use crate::config::Scope;
use crate::formats::subject::{Mapping, Subject};
use crate::http::admission::Ticket;
use crate::http::via::Via;
use crate::http::{Code, Presented, Problem, auth, body};
use crate::intake::{IntakeError, Lifetime, NewRevocation, NewTarget, Sender};
use crate::issuers::{Expect, VerifyError};
use crate::revocation::{Kind, Target};
use crate::store::seen::SeenId;

/// The `typ` of an assertion, as Okta writes it. Another token of the same issuer was made for something else (RFC 8725 §3.11).
const TYPES: &[&str] = &["global-token-revocation+jwt"];

/// Its routes. Callers are signed in here, because an assertion is no credential anywhere else.
pub fn routes(served: Served) -> Router {
    let path = served.running.source.serves().unwrap_or_default();
    Router::new().route(&path, post(revoke)).with_state(served)
}

/// Who revokes, and the assertion that says so, which must not count again.
struct Asker {
    sender: Sender,
    assertion: Option<(SeenId, i64)>,
}

async fn revoke(
    State(served): State<Served>,
    presented: Presented,
    via: Via,
    ticket: Option<Extension<Ticket>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let link = &served.running.inbox.link;
    let read = read(&served, &presented, via, ticket.as_deref(), &headers, body).await;
    let (asker, bytes) = read.inspect_err(|problem| match problem.code() {
        code if code.status().is_server_error() => link.failed(code.title()),
        code => link.set_aside(1, code.name()),
    })?;
    let away = |_| Problem::new(Code::StoreUnavailable, "the store does not answer; send it again");
    if let Some((id, _)) = asker.assertion
        && served.running.seen.seen(id, served.running.inbox.clock.now()).await.map_err(away)?.is_some()
    {
        link.passed_over(1, "repeated");
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let targets = targets(&served, &bytes).map_err(|(reason, detail)| {
        link.set_aside(1, reason);
        // The draft has 400 for whatever it calls malformed (§3.4.2), an unsupported format too.
        Problem::new(Code::InvalidRequest, detail)
    })?;
    let mut items: Vec<NewRevocation> = targets
        .into_iter()
        // Without a time of its own everything counts that was issued up to this second.
        .map(|target| NewRevocation {
            target: NewTarget::Named(target),
            lifetime: Lifetime::Unsaid,
            issued_before: None,
            reason: Some("global token revocation".to_owned()),
        })
        .collect();
    served.running.inbox.address(&mut items);
    match served.running.inbox.intake.revoke(&asker.sender, items).await {
        Ok(_) => {
            link.delivered(1, "committed");
            if let Some((id, until)) = asker.assertion
                && let Err(error) = served.running.seen.remember(id, "", until).await
            {
                tracing::debug!(source = link.name(), %error, "an assertion was taken and could not be remembered");
            }
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Err(IntakeError::Invalid { invalid, .. }) => {
            link.set_aside(1, invalid.reason.code());
            // What is the caller's to change is 403; else the subject is no good, and 422 would mean something else here.
            if invalid.reason.is_forbidden() {
                return Err(IntakeError::Invalid { index: 0, invalid }.into());
            }
            Err(Problem::new(Code::InvalidRequest, invalid.detail))
        }
        Err(error) => {
            link.failed(&error.to_string());
            Err(error.into())
        }
    }
}

async fn read(
    served: &Served,
    presented: &Presented,
    via: Via,
    ticket: Option<&Ticket>,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Asker, Bytes), Problem> {
    let asker = match assertion(served, headers).await? {
        Some(Asker { sender, assertion }) => Asker { sender: Sender { actor: via.unknown(), ..sender }, assertion },
        None => {
            let caller = served.authenticator.authenticate(presented).await?.by(via);
            if let Some(ticket) = ticket {
                ticket.belongs_to(&caller)?;
            }
            caller.require(Scope::Publish)?;
            caller.require(Scope::Rules)?;
            Asker { sender: served.sender(&caller), assertion: None }
        }
    };
    if body::media_type(headers) != "application/json" {
        return Err(Problem::new(Code::UnsupportedMediaType, "send application/json"));
    }
    Ok((asker, body::read(headers, body, served.sources.body).await?))
}

/// Whoever shows an assertion; `None` when there is none that counts here.
async fn assertion(served: &Served, headers: &HeaderMap) -> Result<Option<Asker>, Problem> {
    let running = &served.running;
    let token = headers.get(header::AUTHORIZATION).and_then(|value| auth::bearer(value.as_bytes()));
    let Some(token) = token.filter(|_| !running.source.audiences.is_empty()) else { return Ok(None) };
    let expect = Expect {
        issuers: ssf::signers(&running.source),
        audiences: &running.source.audiences,
        types: TYPES,
        needs_exp: true,
        early: false,
    };
    let verified = match running.issuers.verify(token, &expect).await {
        Ok(verified) => verified,
        Err(error @ VerifyError::Unavailable) => return Err(Problem::new(Code::KeysUnavailable, error.to_string())),
        Err(_) => return Ok(None),
    };
    let (Some(jti), Some(exp)) = (&verified.jwt.claims.jti, verified.jwt.exp) else { return Ok(None) };
    let id = SeenId::of(&format!("global_token_revocation {}", verified.issuer), jti);
    let until = exp.saturating_add(running.issuers.skew()).saturating_add(1);
    let sender = ssf::bound(running.inbox.sender.clone(), &running.source, &verified.issuer);
    Ok(Some(Asker { sender, assertion: Some((id, until)) }))
}

/// Whom the body names, or a stable code and words that hold nothing of it.
fn targets(served: &Served, bytes: &[u8]) -> Result<Vec<Target>, (&'static str, String)> {
    let malformed = |detail: &str| ("malformed_request", detail.to_owned());
    let body: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|_| malformed("the body is not a JSON object"))?;
    // Its name in drafts up to 02, which Auth0 and Okta have documented.
    let (1, Some(sub_id)) = (body.len(), body.get("sub_id").or_else(|| body.get("subject"))) else {
        return Err(malformed("the body has to have the member sub_id and no other"));
    };
    let subject = Subject::read(sub_id).map_err(|error| malformed(&error.to_string()))?;
    let subject_claim = ssf::subject_claim(&served.running);
    let mut targets = subject.targets(&Mapping { subject_claim: &subject_claim, issuer: None });
    targets.retain(|target| target.kind == Kind::Subject);
    targets.iter_mut().for_each(|target| ssf::of_tokens(&served.running.source, target));
    if targets.is_empty() || matches!(subject, Subject::Complex(_)) {
        let detail = "the format of sub_id is not one that names a `sub` here: iss_sub does, and those that \
                      `subject_claim` of this source names";
        return Err(("unsupported_subject", detail.to_owned()));
    }
    Ok(targets)
}
