//! Global Token Revocation (draft-parecki-oauth-global-token-revocation-05 §3): `POST /global-token-revocation` revokes
//! every token that a subject has so far.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Map, Value};

use super::ssf;
use super::start::Served;
use crate::config::Scope;
use crate::formats::subject::{Mapping, Subject};
use crate::http::{Caller, Code, Problem, body};
use crate::intake::{IntakeError, Lifetime, NewRevocation, NewTarget};
use crate::revocation::{Kind, Target};

/// Its routes, for callers that are signed in.
pub fn routes(served: Served) -> Router {
    let path = served.running.source.serves().unwrap_or_default();
    Router::new().route(&path, post(revoke)).with_state(served)
}

async fn revoke(
    State(served): State<Served>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(Scope::Publish)?;
    caller.require(Scope::Rules)?;
    if body::media_type(&headers) != "application/json" {
        return Err(Problem::new(Code::UnsupportedMediaType, "send application/json"));
    }
    let bytes = body::read(&headers, body, served.sources.body).await?;
    let link = &served.running.inbox.link;
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
    match served.running.inbox.intake.revoke(&served.sender(&caller), items).await {
        Ok(_) => {
            link.delivered(1, "committed");
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

/// Whom the body names, or a stable code and words that hold nothing of it.
fn targets(served: &Served, bytes: &[u8]) -> Result<Vec<Target>, (&'static str, String)> {
    let malformed = |detail: &str| ("malformed_request", detail.to_owned());
    let body: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|_| malformed("the body is not a JSON object"))?;
    let (1, Some(sub_id)) = (body.len(), body.get("sub_id")) else {
        return Err(malformed("the body has to have the member sub_id and no other"));
    };
    let subject = Subject::read(sub_id).map_err(|error| malformed(&error.to_string()))?;
    let subject_claim = ssf::subject_claim(&served.running);
    let mut targets = subject.targets(&Mapping { subject_claim: &subject_claim, issuer: None });
    targets.retain(|target| target.kind == Kind::Subject);
    if targets.is_empty() || matches!(subject, Subject::Complex(_)) {
        let detail = "the format of sub_id is not one that names a `sub` here: iss_sub does, and those that \
                      `subject_claim` of this source names";
        return Err(("unsupported_subject", detail.to_owned()));
    }
    Ok(targets)
}
