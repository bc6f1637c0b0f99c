//! The native format: `POST /v1/revocations` with one object, an array, or NDJSON, and `DELETE /v1/revocations/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, post};
use serde_json::json;

use super::{SharedSources, Sources};
use crate::config::Scope;
use crate::formats::cloudevents;
use crate::formats::message::{self, Unreadable};
use crate::formats::native::{self, Fault, Items, Refusal};
use crate::formats::wso2::translate::Untyped;
use crate::http::{Caller, Code, Problem, body};
use crate::intake::{Receipt, Status};
use crate::metrics::Metrics;

const CURSOR: HeaderName = HeaderName::from_static("revocation-cursor");

/// `POST /v1/revocations`.
pub fn publish() -> MethodRouter<SharedSources> {
    post(revoke)
}

/// `DELETE /v1/revocations/{id}`.
pub fn unpublish() -> MethodRouter<SharedSources> {
    delete(lift)
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.fault {
            Fault::Json => Code::InvalidJson,
            Fault::Item => Code::InvalidItem,
            Fault::Target => Code::InvalidTarget,
            Fault::Time => Code::InvalidTime,
            Fault::TooMany => Code::TooManyItems,
        };
        let problem = Problem::new(code, refusal.detail);
        match refusal.index {
            Some(index) => problem.at(index),
            None => problem,
        }
    }
}

/// The form that a body is said to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Native,
    Lines,
    CloudEvent,
    /// The attributes in the headers, the data as the body.
    BinaryCloudEvent,
    Batch,
    Unknown,
}

impl Form {
    fn of(headers: &HeaderMap, media_type: &str) -> Self {
        let binary = headers.contains_key("ce-specversion");
        match media_type {
            cloudevents::STRUCTURED => Form::CloudEvent,
            cloudevents::BATCH => Form::Batch,
            "application/json" | "application/x-ndjson" | "application/ndjson" | "application/jsonl" if binary => {
                Form::BinaryCloudEvent
            }
            "application/json" => Form::Native,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Form::Lines,
            _ => Form::Unknown,
        }
    }

    /// The name in metrics.
    const fn name(self) -> &'static str {
        match self {
            Form::Native => "native",
            Form::Lines => "ndjson",
            Form::CloudEvent => "cloudevent",
            Form::BinaryCloudEvent => "cloudevent_binary",
            Form::Batch => "cloudevent_batch",
            Form::Unknown => "unknown",
        }
    }
}

/// Reads a body.
fn parse(form: Form, headers: &HeaderMap, bytes: &[u8], max_items: usize) -> Result<Items, Problem> {
    let options = message::Options { max_items, untyped: Untyped::Both };
    let media_type = body::media_type(headers);
    match form {
        Form::CloudEvent => Ok(Items::Many(cloudevents::structured(bytes, &options)?.revocations)),
        Form::Batch => {
            let events = cloudevents::batch(bytes, &options)?;
            Ok(Items::Many(events.into_iter().flat_map(|event| event.revocations).collect()))
        }
        Form::BinaryCloudEvent => {
            let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
            let (specversion, id) = (text("ce-specversion"), text("ce-id"));
            cloudevents::Attributes { specversion, id, source: text("ce-source"), r#type: text("ce-type") }.check()?;
            let form = if media_type == "application/json" { Form::Native } else { Form::Lines };
            parse(form, headers, bytes, max_items)
        }
        Form::Native => Ok(native::json(bytes, max_items)?),
        Form::Lines => Ok(native::ndjson(bytes, max_items)?),
        // Also keeps a web page from posting here without the browser asking first.
        Form::Unknown => {
            let detail = format!(
                "{media_type:?} is not accepted; send application/json, application/x-ndjson, {} or {}",
                cloudevents::STRUCTURED,
                cloudevents::BATCH
            );
            Err(Problem::new(Code::UnsupportedMediaType, detail))
        }
    }
}

impl From<Unreadable> for Problem {
    fn from(unreadable: Unreadable) -> Self {
        let code = match unreadable {
            Unreadable::Native(refusal) => return refusal.into(),
            Unreadable::Json(_) => Code::InvalidJson,
            Unreadable::TooMany(_) => Code::TooManyItems,
            Unreadable::CloudEvent(_) => Code::InvalidCloudEvent,
            Unreadable::Wso2(_) | Unreadable::Xml(_) | Unreadable::Value(_) | Unreadable::UnknownFormat => {
                Code::InvalidItem
            }
        };
        Problem::new(code, unreadable.to_string())
    }
}

/// The origins whose deliveries are consented to; see [`consent`].
#[derive(Clone)]
pub struct Origins {
    /// Their names; `*` is any.
    pub known: Arc<[String]>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// `OPTIONS /v1/revocations`: whether a sender of CloudEvents may deliver here (HTTP 1.1 Web Hooks for Event Delivery §4).
/// It says nothing about credentials, which each delivery needs all the same. Consent is the header; without it the answer
/// only says what the path can do.
pub async fn consent(State(origins): State<Origins>, headers: HeaderMap) -> Response {
    let mut response = (StatusCode::OK, [(header::ALLOW, "GET, HEAD, OPTIONS, POST")]).into_response();
    let Some(origin) = headers.get("webhook-request-origin") else { return response };
    let known = |own: &String| own == "*" || origin.to_str().is_ok_and(|text| text.eq_ignore_ascii_case(own));
    let given = origins.known.iter().any(known);
    origins.metrics.consents.with_label_values(&[if given { "given" } else { "withheld" }]).inc();
    if given {
        let own = response.headers_mut();
        own.insert("webhook-allowed-origin", origin.clone());
        // Senders are held back by 503 and Retry-After, not by a number.
        own.insert("webhook-allowed-rate", HeaderValue::from_static("*"));
    }
    response
}

async fn revoke(
    State(sources): State<SharedSources>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let form = Form::of(&headers, &body::media_type(&headers));
    let taken = take(&sources, &caller, form, &headers, body).await;
    let outcome = taken.as_ref().map_or_else(|problem| problem.code().name(), |_| "committed");
    sources.metrics.publishes.with_label_values(&[form.name(), outcome]).inc();
    taken
}

async fn take(
    sources: &Sources,
    caller: &Caller,
    form: Form,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(Scope::Publish)?;
    let bytes = body::read(headers, body, sources.body).await?;
    match parse(form, headers, &bytes, sources.max_items)? {
        Items::One(item) => {
            let receipt = sources.intake.revoke(&sources.sender(caller), vec![item]).await?;
            Ok(one(&receipt))
        }
        Items::Many(items) => {
            let receipt = sources.intake.revoke(&sources.sender(caller), items).await?;
            let count = |wanted| receipt.items.iter().filter(|(_, status)| *status == wanted).count();
            let answer = json!({
                "revoked": count(Status::Revoked),
                "unchanged": count(Status::Unchanged),
                "expired": count(Status::Expired),
                "cursor": receipt.cursor.to_string(),
            });
            Ok((StatusCode::OK, [(CURSOR, receipt.cursor.to_string())], Json(answer)).into_response())
        }
    }
}

fn one(receipt: &Receipt) -> Response {
    let (id, status) = receipt.items[0];
    let code = if status == Status::Revoked { StatusCode::CREATED } else { StatusCode::OK };
    let cursor = receipt.cursor.to_string();
    let answer = json!({"id": id.to_string(), "cursor": cursor, "status": status.name()});
    let mut response = (code, [(CURSOR, cursor)], Json(answer)).into_response();
    if code == StatusCode::CREATED {
        let location = format!("/v1/revocations/{id}");
        if let Ok(location) = location.parse() {
            response.headers_mut().insert(header::LOCATION, location);
        }
    }
    response
}

async fn lift(
    State(sources): State<SharedSources>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Lift)?;
    let id = id.parse().map_err(|e| Problem::new(Code::NotFound, format!("{e}")))?;
    let receipt = sources.intake.lift(&sources.sender(&caller), id).await?;
    let cursor = receipt.cursor.to_string();
    let answer = json!({"id": id.to_string(), "cursor": cursor, "status": "lifted"});
    Ok((StatusCode::OK, [(CURSOR, cursor)], Json(answer)).into_response())
}
