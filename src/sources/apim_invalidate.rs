//! The token-invalidation operation of an Azure API Management set-up: `POST /shared/security/invalidate` and
//! `POST /shared/security/v1/invalidate`, without a body. The caller, often a page at logout, presents the access token that
//! is to die as its own bearer token; nobody else's token can be named, so nothing else is asked of the caller.
//!
//! Success is 200 with `jwt-Id` (the key under which such set-ups cache) and `jwt-Exp` (seconds left) and no body; anything
//! wrong with the token is the 401 of such set-ups.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::start::Served;
use crate::http::Problem;
use crate::http::problem::Code;
use crate::http::via::Via;
use crate::intake::{Lifetime, NewRevocation, NewTarget, Sender};
use crate::issuers::{Expect, Verified, VerifyError};
use crate::revocation::{Kind, Target};

const PATHS: [&str; 2] = ["/shared/security/invalidate", "/shared/security/v1/invalidate"];
const JWT_ID: HeaderName = HeaderName::from_static("jwt-id");
const JWT_EXP: HeaderName = HeaderName::from_static("jwt-exp");

/// .NET's ticks at the Unix epoch, and how many there are in a second.
const EPOCH_TICKS: i64 = 621_355_968_000_000_000;
const TICKS: i64 = 10_000_000;

/// Its routes. The token is the credential, so callers are not signed in.
pub fn routes(served: Served) -> Router {
    let origins = &served.running.source.cors_origins;
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::try_from(origin.as_str()).ok()))
    };
    let cors = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([JWT_ID, JWT_EXP]);
    let mut router = Router::new();
    for path in PATHS {
        router = router.route(path, post(invalidate).options(async || StatusCode::OK));
    }
    let router = router.with_state(served.clone());
    // Without origins there is no header, and browsers keep pages of other origins out.
    if origins.is_empty() { router } else { router.layer(cors) }
}

async fn invalidate(State(served): State<Served>, via: Via, headers: HeaderMap) -> Result<Response, Problem> {
    let inbox = &served.running.inbox;
    let Some(token) = bearer(&headers) else { return Ok(unauthorized(&served, "no_token")) };
    let source = &served.running.source;
    let expect = Expect {
        issuers: source.issuers.as_deref(),
        audiences: &source.audiences,
        types: &[],
        needs_exp: true,
        early: true,
    };
    let verified = match served.running.issuers.verify(token, &expect).await {
        Ok(verified) => verified,
        Err(VerifyError::Unavailable) => {
            inbox.link.failed("the keys of the issuer cannot be read");
            return Err(Problem::new(Code::KeysUnavailable, VerifyError::Unavailable.to_string()));
        }
        Err(error) => return Ok(unauthorized(&served, error.reason())),
    };
    let items = revocations(token, &verified);
    let sender = Sender { actor: via.unknown(), ..inbox.sender.clone() };
    inbox.intake.revoke(&sender, items).await.map_err(|error| {
        inbox.link.failed(&error.to_string());
        Problem::from(error)
    })?;
    inbox.link.delivered(1, "committed");
    let left = verified.jwt.exp.unwrap_or_default().saturating_sub(inbox.clock.now()).max(0);
    let mut response = StatusCode::OK.into_response();
    let own = response.headers_mut();
    if let Ok(key) = HeaderValue::try_from(cache_key(&verified)) {
        own.insert(JWT_ID, key);
    }
    own.insert(JWT_EXP, HeaderValue::from(left));
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The token itself, by `jti` or by its digest; and by Entra's `uti`, which gateways compare where there is no `jti`.
fn revocations(token: &str, verified: &Verified) -> Vec<NewRevocation> {
    let new = |target, lifetime| NewRevocation { target, lifetime, issued_before: None, reason: Some("logout".into()) };
    let mut items = vec![new(NewTarget::Raw { token: token.to_owned(), iss: None }, Lifetime::Unsaid)];
    if let (None, Some(uti), Some(exp)) = (&verified.jwt.claims.jti, text(verified, "uti"), verified.jwt.exp) {
        let target = Target { kind: Kind::Token, iss: Some(verified.issuer.clone()), value: uti.to_owned() };
        items.push(new(NewTarget::Named(target), Lifetime::Until(exp)));
    }
    items
}

fn text<'a>(verified: &'a Verified, claim: &str) -> Option<&'a str> {
    verified.claims.get(claim).and_then(Value::as_str)
}

/// `appid-oid-exp-iat`, times in .NET's ticks. Version 2 tokens of Entra have `azp` for `appid`.
fn cache_key(verified: &Verified) -> String {
    let app = text(verified, "appid").or_else(|| text(verified, "azp")).unwrap_or_default();
    let who = text(verified, "oid").unwrap_or_default();
    let ticks = |at: Option<i64>| EPOCH_TICKS.saturating_add(at.unwrap_or_default().saturating_mul(TICKS));
    format!("{app}-{who}-{}-{}", ticks(verified.jwt.exp), ticks(verified.jwt.claims.iat))
}

fn unauthorized(served: &Served, reason: &'static str) -> Response {
    served.running.inbox.link.set_aside(1, reason);
    let answer = json!({"statusCode": "401", "message": "Unauthorized. Access token is missing or invalid."});
    let mut response = (StatusCode::UNAUTHORIZED, Json(answer)).into_response();
    // RFC 9110 §11.6.1 wants one with every 401.
    let challenge = HeaderValue::from_static(r#"Bearer realm="revocation-hub", error="invalid_token""#);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}
