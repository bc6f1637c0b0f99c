//! `POST /api/message/<destination>` as ActiveMQ's web console has it (`MessageServlet`), which the WSO2 documentation uses
//! to push a revoked token: form or JSON with `revokedToken`, optionally `ttl` (seconds) and `expiryTime`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::start::Served;
use crate::config::Scope;
use crate::formats::wso2::{Event, TokenEvent, translate};
use crate::http::{Caller, Code, Problem, body};
use crate::intake::Lifetime;

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "revokedToken")]
    revoked_token: Option<String>,
    ttl: Option<Number>,
    #[serde(rename = "expiryTime")]
    expiry_time: Option<Number>,
    r#type: Option<String>,
}

/// A number, or text that is one: forms know only text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Is(i64),
    Says(String),
}

impl Number {
    /// The number; `None` for what says nothing: empty, 0 and less.
    fn read(self, name: &str) -> Result<Option<i64>, Problem> {
        let number = match self {
            Number::Is(number) => number,
            Number::Says(text) if text.trim().is_empty() => return Ok(None),
            Number::Says(text) => {
                let wrong = |_| Problem::new(Code::InvalidTime, format!("{name} is not a whole number"));
                text.trim().parse().map_err(wrong)?
            }
        };
        Ok(Some(number).filter(|number| *number > 0))
    }
}

/// `POST /api/message/<destination>`. The query (`type=topic`) changes nothing.
pub async fn send(
    State(served): State<Served>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(Scope::Publish)?;
    super::refuse_web_pages(&headers)?;
    let bytes = body::read(&headers, body, served.sources.body).await?;
    let unreadable = |what: &str| Problem::new(Code::InvalidRequest, format!("the body is not {what}"));
    let message: Message = match &*body::media_type(&headers) {
        "application/x-www-form-urlencoded" => {
            serde_urlencoded::from_bytes(&bytes).map_err(|_| unreadable("a form with each field once"))?
        }
        "application/json" => serde_json::from_slice(&bytes).map_err(|_| unreadable("JSON with these members"))?,
        other => {
            let detail =
                format!("{other:?} is not accepted; send application/x-www-form-urlencoded or application/json");
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
    };
    let token = message.revoked_token.filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Problem::new(Code::InvalidRequest, "revokedToken is missing"))?;
    let expiry_time = message.expiry_time.map(|n| n.read("expiryTime")).transpose()?.flatten();
    let ttl = message.ttl.map(|n| n.read("ttl")).transpose()?.flatten();
    let event = TokenEvent { revoked_token: token, expiry_time, token_type: message.r#type, ..TokenEvent::default() };
    let inbox = &served.running.inbox;
    let mut items = translate::event(Event::Token(event), served.running.source.untyped);
    if let Some(ttl) = ttl {
        for item in items.iter_mut().filter(|item| item.lifetime == Lifetime::Unsaid) {
            item.lifetime = Lifetime::For(ttl);
        }
    }
    inbox.address(&mut items);
    let receipt = inbox.intake.revoke(&served.sender(&caller), items).await.map_err(|error| {
        inbox.link.failed(&error.to_string());
        Problem::from(error)
    })?;
    inbox.link.delivered(1, "committed");
    let id = format!("ID:revocation-hub-{}", receipt.items.first().map_or_else(String::new, |(id, _)| id.to_string()));
    Ok((StatusCode::OK, [("messageID", id), (header::CONTENT_TYPE.as_str(), "text/plain".into())], "Message sent")
        .into_response())
}
