//! OpenID Connect Back-Channel Logout 1.0: `POST /backchannel-logout`. Its caller is whoever has a token that is well signed
//! and meant for us (§2.6); there are no other credentials.
//!
//! §2.6 leaves it to the receiver what a token means that comes again. Here it changes nothing and is answered as the first
//! time (200): senders seldom repeat, and when one does, the logout has happened. It matters that it changes nothing,
//! because somebody may have taken the revocation back in between.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::start::Served;
use crate::formats::logout_token::{self, TYPES, Whom};
use crate::http::Problem;
use crate::http::oauth::{self, OAuthError};
use crate::http::via::Via;
use crate::intake::{IntakeError, Lifetime, NewRevocation, NewTarget, Sender};
use crate::issuers::{Expect, VerifyError};
use crate::revocation::{Kind, Target};
use crate::store::seen::SeenId;

/// Its routes. The token is the credential.
pub fn routes(served: Served) -> Router {
    let path = served.running.source.serves().unwrap_or_default();
    Router::new().route(&path, post(logout)).with_state(served)
}

/// Why there was no logout: the answer, and a stable name for metrics.
struct Refused(OAuthError, &'static str);

impl From<OAuthError> for Refused {
    fn from(error: OAuthError) -> Self {
        let reason = error.error;
        Self(error, reason)
    }
}

impl From<VerifyError> for Refused {
    fn from(error: VerifyError) -> Self {
        Self(error.into(), error.reason())
    }
}

async fn logout(
    State(served): State<Served>,
    via: Via,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, OAuthError> {
    let link = &served.running.inbox.link;
    match take(&served, via, &headers, body).await {
        Ok(true) => link.delivered(1, "committed"),
        Ok(false) => link.passed_over(1, "repeated"),
        Err(Refused(error, reason)) => {
            if error.status.is_server_error() {
                link.failed(&error.description);
            } else {
                link.set_aside(1, reason);
            }
            // Not louder: anybody may call. The metric tells how many and why.
            tracing::debug!(source = link.name(), reason, "a logout was refused");
            return Err(error);
        }
    }
    Ok(oauth::not_stored(StatusCode::OK.into_response()))
}

/// Whether the logout was a new one.
async fn take(served: &Served, via: Via, headers: &HeaderMap, body: Body) -> Result<bool, Refused> {
    let form = oauth::form(headers, body, served.sources.body).await?;
    let text = form.get("logout_token").ok_or_else(|| OAuthError::invalid_request("logout_token is missing"))?;
    let running = &served.running;
    let expect = Expect {
        issuers: running.source.issuers.as_deref(),
        audiences: &running.source.audiences,
        types: TYPES,
        needs_exp: true,
        early: false,
    };
    let verified = running.issuers.verify(text, &expect).await?;
    let logout = logout_token::read(&verified.claims)
        .map_err(|error| Refused(OAuthError::invalid_request(error.to_string()), error.reason()))?;

    // One name of the issuer's for the token, whichever of our sources it comes to.
    let id = SeenId::of(&format!("backchannel_logout {}", verified.issuer), &logout.id);
    let away = |_| OAuthError::unavailable("the store does not answer; the person is still logged in");
    if running.seen.seen(id, running.inbox.clock.now()).await.map_err(away)?.is_some() {
        return Ok(false);
    }
    let whom = match (logout.whom, logout.subject) {
        // Tokens that name no session would outlive its end, so all of the subject's end with it.
        (Whom::Session(_), Some(sub)) if running.source.tokens_have_sid == Some(false) => Whom::Subject(sub),
        (whom, _) => whom,
    };
    let (kind, value, issued_before) = match whom {
        Whom::Session(sid) => (Kind::Session, sid, None),
        // From the token's own time, so that the same token can only make the same rule; the second of the logout included.
        Whom::Subject(sub) => (Kind::Subject, sub, Some(logout.issued_at.saturating_add(1))),
    };
    let item = NewRevocation {
        target: NewTarget::Named(Target { kind, iss: Some(verified.issuer), value }),
        lifetime: Lifetime::Unsaid,
        issued_before,
        reason: Some("logout".into()),
    };
    let sender = Sender { actor: via.unknown(), ..running.inbox.sender.clone() };
    match running.inbox.intake.revoke(&sender, vec![item]).await {
        Ok(_) => {}
        Err(IntakeError::Invalid { invalid, .. }) => {
            return Err(Refused(OAuthError::invalid_request(invalid.detail), invalid.reason.code()));
        }
        Err(error) => return Err(OAuthError::from(Problem::from(error)).into()),
    }
    // After the commit. When this fails a repeat has its effect once more, which is the lesser evil.
    let until = logout.expires_at.saturating_add(running.issuers.skew()).saturating_add(1);
    if let Err(error) = running.seen.remember(id, "", until).await {
        tracing::warn!(%error, source = running.inbox.link.name(), "a logout cannot be remembered");
    }
    Ok(true)
}
