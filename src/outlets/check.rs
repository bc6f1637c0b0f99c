//! `GET /v1/check` by claims and `POST /v1/check` by token: is this token revoked?

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{CURSOR, Outlets, SharedOutlets};
use crate::config::Scope;
use crate::http::{Caller, Code, Problem, body};
use crate::revocation::Claims;
use crate::revocation::token::{self, Token};

/// The claims of a token, as far as the asker knows them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckQuery {
    jti: Option<String>,
    sha256: Option<String>,
    iss: Option<String>,
    sub: Option<String>,
    iat: Option<i64>,
    sid: Option<String>,
    client_id: Option<String>,
    kid: Option<String>,
}

/// `GET /v1/check`.
pub async fn by_claims(
    State(outlets): State<SharedOutlets>,
    caller: Caller,
    query: Result<Query<CheckQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let Query(q) = query?;
    let claims = Claims {
        iss: q.iss.map(Some),
        jti: q.jti,
        sha256: q.sha256.map(|hex| hex.to_ascii_lowercase()),
        sig: None,
        sid: q.sid,
        sub: q.sub,
        client_id: q.client_id,
        kid: q.kid,
        iat: q.iat,
    };
    if claims == (Claims { iat: claims.iat, ..Claims::default() }) {
        let detail = "name at least one of jti, sha256, iss, sub, sid, client_id, kid";
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    answer(&outlets, &claims)
}

#[derive(Debug, Deserialize)]
struct Form {
    token: String,
}

/// `POST /v1/check` with `token=…`, for those who have only the token. It is read, hashed and forgotten.
pub async fn by_token(
    State(outlets): State<SharedOutlets>,
    caller: Caller,
    headers: HeaderMap,
    request_body: Body,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    if body::media_type(&headers) != "application/x-www-form-urlencoded" {
        let detail = "send a form (application/x-www-form-urlencoded) with the member token";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let bytes = body::read(&headers, request_body, outlets.body).await?;
    let form: Form = serde_urlencoded::from_bytes(&bytes)
        .map_err(|_| Problem::new(Code::InvalidRequest, "the form must have the member token once"))?;
    let token = token::read(&form.token).map_err(|e| Problem::new(Code::MalformedToken, e.to_string()))?;
    let claims = match token {
        Token::Jwt(jwt) => jwt.claims,
        Token::Opaque { sha256 } => Claims { iss: Some(None), sha256: Some(sha256), ..Claims::default() },
    };
    answer(&outlets, &claims)
}

fn answer(outlets: &Outlets, claims: &Claims) -> Result<Response, Problem> {
    let cursor = outlets.cursor()?;
    let mut json = Vec::new();
    match outlets.ledger.check(claims) {
        Some(by) => {
            json.extend_from_slice(br#"{"revoked":true,"by":"#);
            json.extend_from_slice(&by);
            json.push(b'}');
        }
        None => json.extend_from_slice(br#"{"revoked":false}"#),
    }
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (CURSOR, cursor.to_string()),
    ];
    Ok((headers, json).into_response())
}
