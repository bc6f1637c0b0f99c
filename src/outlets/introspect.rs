//! RFC 7662 token introspection: `POST /introspect`, for gateways that ask about each token.
//!
//! **Invariant.** A token is called active only after the hub itself has checked its signature, its times and the ledger.
//! When one of them cannot be checked the answer is 503; when the hub cannot know the token at all (an opaque one, one of
//! an issuer that is not configured) it is inactive, as §2.2 has it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{CURSOR, SharedOutlets};
use crate::config::Scope;
use crate::http::oauth::{self, OAuthError};
use crate::http::{Authenticator, Presented};
use crate::issuers::{ACCESS_TOKEN, Expect, Verified, VerifyError};

/// What a request needs.
#[derive(Clone)]
pub struct Introspection {
    /// The ledger and the issuers.
    pub outlets: SharedOutlets,
    /// Callers sign in with OAuth's manners.
    pub authenticator: Arc<Authenticator>,
}

/// `POST /introspect`.
pub async fn introspect(
    State(state): State<Introspection>,
    headers: HeaderMap,
    presented: Presented,
    body: Body,
) -> Result<Response, OAuthError> {
    let outlets = &state.outlets;
    let form = oauth::form(&headers, body, outlets.body).await?;
    let caller = oauth::client(&state.authenticator, &presented, &form).await?;
    caller.require(Scope::Read)?;
    let text = form.get("token").ok_or_else(|| OAuthError::invalid_request("token is missing"))?;
    let cursor = outlets.cursor()?;
    let expect = Expect { types: ACCESS_TOKEN, ..Expect::default() };
    let answer = match outlets.issuers.verify(text, &expect).await {
        Err(error @ VerifyError::Unavailable) => return Err(error.into()),
        Err(_) => json!({ "active": false }),
        Ok(verified) if outlets.ledger.check(&verified.to_check()).is_some() => json!({ "active": false }),
        Ok(verified) => active(&verified),
    };
    let mut response = oauth::not_stored(Json(answer).into_response());
    if let Ok(cursor) = HeaderValue::try_from(cursor.to_string()) {
        response.headers_mut().insert(CURSOR, cursor);
    }
    Ok(response)
}

/// The members of §2.2 that the claims have. Others of the token are not the caller's business.
fn active(verified: &Verified) -> Value {
    let claims = &verified.claims;
    let mut answer = Map::new();
    answer.insert("active".into(), true.into());
    for name in ["iss", "sub", "jti", "username"] {
        if let Some(text @ Value::String(_)) = claims.get(name) {
            answer.insert(name.into(), text.clone());
        }
    }
    if let Some(audience @ (Value::String(_) | Value::Array(_))) = claims.get("aud") {
        answer.insert("aud".into(), audience.clone());
    }
    for name in ["exp", "iat", "nbf"] {
        if let Some(at) = claims.get(name).and_then(Value::as_f64) {
            answer.insert(name.into(), (at.floor() as i64).into());
        }
    }
    if let Some(client_id) = &verified.jwt.claims.client_id {
        answer.insert("client_id".into(), client_id.as_str().into());
    }
    // Some issuers write a list, and some call it scp.
    let words = |value: &Value| match value {
        Value::String(words) => Some(words.clone()),
        Value::Array(all) => Some(all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        _ => None,
    };
    if let Some(scope) = claims.get("scope").or_else(|| claims.get("scp")).and_then(words) {
        answer.insert("scope".into(), scope.into());
    }
    // A token that is bound to a key is worth nothing without proof of it, which the caller has to ask for
    // (RFC 8705 §3.2, RFC 9449 §6.2).
    let bound = claims.get("cnf").filter(|cnf| cnf.is_object());
    let kind = if bound.is_some_and(|cnf| cnf.get("jkt").is_some()) { "DPoP" } else { "Bearer" };
    answer.insert("token_type".into(), kind.into());
    if let Some(cnf) = bound {
        answer.insert("cnf".into(), cnf.clone());
    }
    Value::Object(answer)
}
