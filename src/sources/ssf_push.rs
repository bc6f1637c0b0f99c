//! Security Event Tokens by push (RFC 8935): `POST /ssf/events`. The body is the token itself; 202 says that what it asks
//! for is committed.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;

use super::ssf::{Err, NotTaken, Receiver};
use super::start::Served;
use crate::config::Scope;
use crate::http::via::Via;
use crate::http::{Caller, Code, Presented, Problem, body};
use crate::intake::Sender;

/// The language of every description (RFC 8935 §2.3).
pub const LANGUAGE: &str = "en";

/// Its routes. Callers are signed in here, because most need not be: the signature of the token is what counts.
pub fn routes(served: Served) -> Router {
    let path = served.running.source.serves().unwrap_or_default();
    Router::new().route(&path, post(receive)).with_state(served)
}

async fn receive(
    State(served): State<Served>,
    presented: Presented,
    via: Via,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match accept(&served, &presented, via, &headers, body).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(response) => response,
    }
}

async fn accept(
    served: &Served,
    presented: &Presented,
    via: Via,
    headers: &HeaderMap,
    body: Body,
) -> Result<(), Response> {
    let counted = |problem: Problem| {
        let link = &served.running.inbox.link;
        match problem.code() {
            code if code.status().is_server_error() => link.failed(code.title()),
            code => link.set_aside(1, code.name()),
        }
        problem
    };
    let (sender, may_lift) = sender(served, presented, via).await.map_err(counted).map_err(not_allowed)?;
    if body::media_type(headers) != "application/secevent+jwt" {
        let problem = Problem::new(Code::UnsupportedMediaType, "send application/secevent+jwt (RFC 8935 §2.1)");
        return Err(counted(problem).into_response());
    }
    let bytes =
        body::read(headers, body, served.sources.body).await.map_err(|problem| counted(problem).into_response())?;
    let receiver = Receiver::new(&served.running, sender, may_lift);
    // What is not text is no token either.
    let token = str::from_utf8(&bytes).unwrap_or_default();
    let taken = match receiver.verify(token).await {
        Ok(set) => receiver.take(&set).await,
        Err(not_taken) => Err(not_taken),
    };
    taken.map_err(|not_taken| {
        receiver.count(&not_taken);
        answer(not_taken)
    })
}

/// Who revokes: the source, and no more than the client that calls when only some clients may.
async fn sender(served: &Served, presented: &Presented, via: Via) -> Result<(Sender, bool), Problem> {
    let clients = &served.running.source.clients;
    if clients.is_empty() {
        // Credentials are not asked for, but wrong ones are a mistake that somebody should see.
        served.authenticator.identify(presented).await?;
        return Ok((Sender { actor: via.unknown(), ..served.running.inbox.sender.clone() }, true));
    }
    let caller: Caller = served.authenticator.authenticate(presented).await?.by(via);
    if !clients.iter().any(|name| **name == *caller.name) {
        let detail = format!("client {} is not among the clients of this source", caller.name);
        return Err(Problem::new(Code::MissingScope, detail));
    }
    caller.require(Scope::Publish)?;
    Ok((served.sender(&caller), caller.may(Scope::Lift)))
}

/// RFC 8935 §2.3: 400 whatever is wrong, and what is wrong in the body.
fn failure(err: Err, description: &str) -> Response {
    let body = Json(json!({"err": err.code(), "description": description}));
    let headers = [(header::CONTENT_LANGUAGE, LANGUAGE), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::BAD_REQUEST, headers, body).into_response()
}

/// The caller is nobody, or not one who may send here. How to sign in is said all the same.
fn not_allowed(problem: Problem) -> Response {
    let err = match problem.code() {
        Code::Unauthorized => Err::AuthenticationFailed,
        Code::MissingScope => Err::AccessDenied,
        _ => return problem.into_response(),
    };
    let (description, challenges) = problem.into_parts();
    let mut response = failure(err, &description);
    for challenge in challenges {
        response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn answer(not_taken: NotTaken) -> Response {
    match not_taken {
        NotTaken::Refused { err, description, .. } => failure(err, &description),
        NotTaken::Keys => Problem::new(
            Code::KeysUnavailable,
            "the keys of the issuer cannot be read at the moment, or not again so soon; send it again",
        )
        .into_response(),
        NotTaken::Intake(error) => Problem::from(error).into_response(),
    }
}
