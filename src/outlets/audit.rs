//! `GET /v1/audit`: who revoked or lifted what, when, from where and through which source. The one outlet that reads the
//! store: records are kept longer than the ledger, and nobody waits for them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::Scope;
use crate::http::{Caller, Code, Problem, negotiate};
use crate::ledger::Ledger;
use crate::revocation::{Id, Kind, Target};
use crate::store::audit::{self, Action, MAX_NAMED, Named, Place, Record, Wanted};
use crate::store::{Store, StoreError};

const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1000;
/// With all ids of all targets a record can be large.
const LONGEST_PAGE_WITH_IDS: usize = 10;

/// Where records are, and the revocations that they are about, while those live.
#[derive(Clone)]
pub struct Records {
    /// The records.
    pub store: Arc<dyn Store>,
    /// The revocations.
    pub ledger: Arc<Ledger>,
}

/// The query.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListQuery {
    since: Option<i64>,
    until: Option<i64>,
    action: Option<String>,
    client: Option<String>,
    source: Option<String>,
    target: Option<String>,
    iss: Option<String>,
    jti: Option<String>,
    sha256: Option<String>,
    sid: Option<String>,
    sub: Option<String>,
    client_id: Option<String>,
    kid: Option<String>,
    after: Option<String>,
    order: Option<String>,
    limit: Option<usize>,
    ids: Option<bool>,
}

fn wrong(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}

impl ListQuery {
    /// The target that is looked for.
    fn wanted(&self) -> Result<Option<Wanted>, Problem> {
        let named = [
            (Kind::Token, &self.jti),
            (Kind::TokenHash, &self.sha256),
            (Kind::Session, &self.sid),
            (Kind::Subject, &self.sub),
            (Kind::Client, &self.client_id),
            (Kind::Key, &self.kid),
        ];
        let mut named = named.into_iter().filter_map(|(kind, value)| Some((kind, value.as_ref()?)));
        let wanted = match (&self.target, named.next(), &self.iss) {
            (Some(_), Some(_), _) | (Some(_), None, Some(_)) => None,
            (Some(id), None, None) => Some(Wanted::Id(id.parse().map_err(|e| wrong(format!("target is {e}")))?)),
            (None, Some((kind, value)), Some(iss)) => Some(Wanted::Id(Id::of(kind, Some(iss), value))),
            (None, Some((kind, value)), None) => Some(Wanted::Key(audit::key(kind, value))),
            (None, None, Some(iss)) => Some(Wanted::Id(Id::of(Kind::Issuer, None, iss))),
            (None, None, None) => return Ok(None),
        };
        match (wanted, named.next()) {
            (Some(wanted), None) => Ok(Some(wanted)),
            _ => Err(wrong(
                "name one target: target, or one of jti, sha256, sid, sub, client_id, kid, with or without iss",
            )),
        }
    }

    fn read(self) -> Result<audit::Query, Problem> {
        let ids = self.ids.unwrap_or(false);
        let longest = if ids { LONGEST_PAGE_WITH_IDS } else { LONGEST_PAGE };
        let limit = self.limit.unwrap_or(PAGE.min(longest));
        if limit == 0 || limit > longest {
            return Err(wrong(format!("limit must be 1 to {LONGEST_PAGE}, with ids 1 to {LONGEST_PAGE_WITH_IDS}")));
        }
        let action = self.action.as_deref().map(|name| {
            let known = Action::ALL.into_iter().find(|action| action.name() == name);
            known.ok_or_else(|| wrong("action must be revoke, lift or renew_epoch"))
        });
        let ascending = match self.order.as_deref() {
            None | Some("newest") => false,
            Some("oldest") => true,
            Some(_) => return Err(wrong("order must be newest or oldest")),
        };
        let after = self.after.as_deref().map(str::parse::<Place>).transpose();
        Ok(audit::Query {
            since: self.since.unwrap_or(0).saturating_mul(1000),
            until: self.until.map_or(i64::MAX, |at| at.saturating_mul(1000)),
            action: action.transpose()?,
            target: self.wanted()?,
            client: self.client,
            source: self.source,
            after: after.map_err(|_| wrong("after must be the `next` of an earlier answer"))?,
            ascending,
            limit,
            ids,
        })
    }
}

/// `GET /v1/audit`: page by page, the newest first.
pub async fn list(
    State(records): State<Records>,
    caller: Caller,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    caller.require(Scope::Admin)?;
    let Query(query) = query?;
    let query = query.read()?;
    let found = audit::find(&*records.store, &query).await.map_err(away)?;
    let all = found.records.iter().map(|record| records.json(record, query.ids));
    let next = found.next.map(|place| place.to_string());
    let mut response = if negotiate::wants_ndjson(&headers) {
        let lines: String = all.map(|record| format!("{record}\n")).collect();
        ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
    } else {
        let mut answer = json!({"records": all.collect::<Vec<_>>()});
        if let Some(next) = &next {
            answer["next"] = next.as_str().into();
        }
        Json(answer).into_response()
    };
    let own = response.headers_mut();
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    own.insert(header::VARY, HeaderValue::from_static("accept"));
    if let Some(next) = next.and_then(|next| HeaderValue::try_from(next).ok()) {
        own.insert(NEXT, next);
    }
    Ok(response)
}

/// Where to go on, also for those who get lines.
const NEXT: HeaderName = HeaderName::from_static("audit-next");

impl Records {
    fn json(&self, record: &Record, ids: bool) -> Value {
        let Record { place, action, epoch, seqs, source, client, detail, count, .. } = record;
        let mut value = json!({
            "number": place.number,
            "at": place.at as f64 / 1000.0,
            "action": action.name(),
            "cause": detail.cause,
            "source": source,
            "epoch": epoch,
        });
        let texts = [
            ("client", client.clone()),
            ("issuer", detail.issuer.clone()),
            ("address", detail.address.map(|address| address.to_string())),
            ("forwarded_for", detail.forwarded_for.clone()),
            ("request_id", detail.request_id.clone()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                value[name] = text.into();
            }
        }
        if let Some((first, last)) = seqs {
            value["first_seq"] = (*first).into();
            value["last_seq"] = (*last).into();
            value["count"] = (*count).into();
            value["unchanged"] = detail.unchanged.into();
        }
        if !detail.targets.is_empty() {
            let targets = record.ids.iter().zip(&detail.targets).map(|(id, named)| self.target(*id, named));
            value["targets"] = targets.collect();
        }
        if ids && *count > MAX_NAMED as u64 {
            value["ids"] = record.ids.iter().map(Id::to_string).collect();
        }
        value
    }

    /// A target as it is known: what the record does not say of a single token, the list says as long as it has it.
    fn target(&self, id: Id, named: &Named) -> Value {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == named.kind);
        let mut value = json!({"id": id.to_string(), "kind": named.kind});
        if let Some(iss) = &named.iss {
            value["iss"] = iss.as_str().into();
        }
        let Some(kind) = kind else { return value };
        let listed = || {
            serde_json::from_slice::<Value>(&self.ledger.get(id)?).ok()?.get(kind.field())?.as_str().map(str::to_owned)
        };
        if let Some(text) = named.value.clone().or_else(listed) {
            debug_assert_eq!(Target { kind, iss: named.iss.clone(), value: text.clone() }.id(), id);
            value[kind.field()] = text.into();
        }
        value
    }
}

fn away(error: StoreError) -> Problem {
    // What the database says is for the log, not for the network.
    tracing::debug!(%error, "audit");
    Problem::new(Code::StoreUnavailable, "the store does not answer; ask again")
}
