//! RFC 7009 token revocation: `POST /revoke`.
//!
//! The hub is not the issuer, so it cannot look a token up. What it does instead:
//!
//! | token | sent by a client | sent by a client with the scope `publish` |
//! |---|---|---|
//! | JWT that verifies | revoked; refused when it names another client (§2.1) | revoked |
//! | JWT that does not | 200 and nothing stored: an invalid token is none to revoke (§2.2) | believed and revoked |
//! | opaque | revoked by its hash: whoever has it may end it | revoked by its hash |
//! | text that only looks like a JWT | 200 and nothing stored | 400, so that nobody believes it done |
//!
//! A refresh token is `unsupported_token_type` (§2.2.1): no gateway ever sees one, so a 200 would promise what only the
//! authorization server can do. What a refresh token is, only the hint can say; but the hint of a JWT that verifies may
//! be wrong (§2.1 asks to look further), and such a token is revoked all the same.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::start::Served;
use crate::config::Scope;
use crate::http::oauth::{self, OAuthError};
use crate::http::via::Via;
use crate::http::{Caller, Presented, Problem};
use crate::intake::{Lifetime, NewRevocation, NewTarget};
use crate::issuers::{Expect, VerifyError};
use crate::revocation::token::{self, Token};

/// Its routes. Callers sign in with OAuth's manners, so not by the layer that the others have.
pub fn routes(served: Served) -> Router {
    let path = served.running.source.serves().unwrap_or_default();
    Router::new().route(&path, post(revoke)).with_state(served)
}

/// What became of a token.
enum Done {
    /// It is revoked.
    Revoked,
    /// It is invalid for everybody already; the reason is for metrics.
    Invalid(&'static str),
}

async fn revoke(
    State(served): State<Served>,
    via: Via,
    presented: Presented,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, OAuthError> {
    let link = &served.running.inbox.link;
    match take(&served, &presented, via, &headers, body).await {
        Ok(Done::Revoked) => link.delivered(1, "committed"),
        Ok(Done::Invalid(reason)) => link.set_aside(1, reason),
        Err(error) if error.status.is_server_error() => {
            link.failed(&error.description);
            return Err(error);
        }
        Err(error) => {
            link.set_aside(1, error.error);
            return Err(error);
        }
    }
    Ok(oauth::not_stored(StatusCode::OK.into_response()))
}

async fn take(
    served: &Served,
    presented: &Presented,
    via: Via,
    headers: &HeaderMap,
    body: Body,
) -> Result<Done, OAuthError> {
    let form = oauth::form(headers, body, served.sources.body).await?;
    let caller = oauth::client(&served.authenticator, presented, &form).await?.by(via);
    let text = form.get("token").ok_or_else(|| OAuthError::invalid_request("token is missing"))?;
    let believed = caller.may(Scope::Publish);
    let refresh = form.get("token_type_hint") == Some("refresh_token");
    let token = match token::read(text) {
        Ok(token) => token,
        Err(error) if believed => return Err(OAuthError::invalid_request(error.to_string())),
        Err(_) => return Ok(Done::Invalid(VerifyError::Malformed.reason())),
    };
    if matches!(token, Token::Jwt(_)) && (refresh || !believed) {
        match verify(served, text, &caller).await {
            Ok(()) => {}
            Err(Refused::Answer(error)) => return Err(error),
            Err(Refused::Unverified(_)) if refresh => return Err(unsupported()),
            Err(Refused::Unverified(error)) => return Ok(Done::Invalid(error.reason())),
        }
    } else if refresh {
        return Err(unsupported());
    }
    let item = NewRevocation {
        target: NewTarget::Raw { token: text.to_owned(), iss: None },
        lifetime: Lifetime::Unsaid,
        issued_before: None,
        reason: None,
    };
    served.running.inbox.intake.revoke(&served.sender(&caller), vec![item]).await.map_err(Problem::from)?;
    Ok(Done::Revoked)
}

/// Why a JWT is not simply revoked.
enum Refused {
    /// It is not one that the hub can believe.
    Unverified(VerifyError),
    /// The request is answered so.
    Answer(OAuthError),
}

/// Whether one of the source's issuers has signed the token, for this client.
async fn verify(served: &Served, text: &str, caller: &Caller) -> Result<(), Refused> {
    let issuers = served.running.source.issuers.as_deref();
    // For whom it is does not matter here, nor that its time has not come.
    let expect = Expect { issuers, early: true, ..Expect::default() };
    let verified = match served.running.issuers.verify(text, &expect).await {
        Ok(verified) => verified,
        Err(error @ VerifyError::Unavailable) => return Err(Refused::Answer(error.into())),
        Err(error) => return Err(Refused::Unverified(error)),
    };
    // RFC 7009 §2.1: a client ends its own tokens. A token that names no client is that of whoever has it.
    let other = |named: &String| caller.client_id.as_deref().is_some_and(|own| own != named);
    if !caller.may(Scope::Publish) && verified.jwt.claims.client_id.as_ref().is_some_and(other) {
        let description = "the token was issued to another client";
        return Err(Refused::Answer(OAuthError::new("unauthorized_client", description)));
    }
    Ok(())
}

fn unsupported() -> OAuthError {
    let description = "the hub tells gateways, and they see no refresh tokens; send it to the authorization server";
    OAuthError::new("unsupported_token_type", description)
}
