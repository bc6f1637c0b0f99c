//! What each foreign system would send.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder, header};
use serde_json::{Value, json};

use super::signing::{SigningKey, WebhookKey};
use super::{Args, Kind};
use crate::cli::client::Client;
use crate::formats::logout_token;

/// How long the sample is in force where its form can say so, seconds. Longer than clocks are apart.
const TTL: i64 = 300;
/// How much of what was sent is shown, characters.
const SHOWN: usize = 160;

/// A request of a foreign system, and what it should bring about.
pub struct Sample {
    method: Method,
    /// Where it goes.
    pub path: String,
    sender: Sender,
    headers: Vec<(&'static str, String)>,
    body: Body,
    /// What is signed, and how, for people: instead of a body that nobody can read.
    signed: Option<String>,
    /// What `/v1/check` is asked.
    pub claims: Vec<(&'static str, String)>,
}

/// Who sends it.
enum Sender {
    /// The client of the command line.
    Client,
    /// Nobody: the signature says who.
    Nobody,
    /// The bearer of this token.
    Bearer(String),
}

enum Body {
    Empty,
    Json(Value),
    Form(Vec<(&'static str, String)>),
    Text(&'static str, String),
}

/// What signs the sample, read from the files of the command line.
pub enum Keys {
    /// Nothing does.
    None,
    /// Tokens.
    Token(SigningKey),
    /// Webhooks.
    Webhook(WebhookKey),
}

impl Sample {
    /// The sample of a kind about `value`. `now` is NumericDate seconds.
    pub fn new(args: &Args, keys: &Keys, value: String, now: i64) -> anyhow::Result<Self> {
        let at = |default: &str| args.path.as_deref().unwrap_or(default).trim_end_matches('/').to_owned();
        let plain = |method, path, body, claims| Self {
            method,
            path,
            sender: Sender::Client,
            headers: Vec::new(),
            body,
            signed: None,
            claims,
        };
        let jti = vec![("jti", value.clone())];
        match (args.kind, keys) {
            (Kind::SsfPush | Kind::BackchannelLogout | Kind::ApimInvalidate, Keys::Token(key)) => {
                return Self::token(args, key, &value, now);
            }
            (Kind::Webhook, Keys::Webhook(key)) => return Ok(Self::webhook(at("/v1/revocations"), key, &value, now)),
            _ => {}
        }
        Ok(match args.kind {
            Kind::Wso2Notify => plain(
                Method::POST,
                at("/internal/data/v1/notify"),
                Body::Json(json!({
                    "type": "token_revocation", "accessToken": value, "tokenType": "JWT", "expiryTime": (now + TTL) * 1000,
                })),
                jti,
            ),
            Kind::Etcd => plain(
                Method::PUT,
                format!("{}/{value}", at("/v2/keys/jti")),
                Body::Form(vec![("value", value), ("ttl", TTL.to_string())]),
                jti,
            ),
            Kind::ActivemqRest => plain(
                Method::POST,
                at("/api/message/tokenRevocation"),
                Body::Form(vec![("revokedToken", value), ("ttl", TTL.to_string())]),
                jti,
            ),
            Kind::Rfc7009 => {
                plain(Method::POST, at("/revoke"), Body::Form(vec![("token", unsigned(&value, now + TTL))]), jti)
            }
            Kind::GlobalTokenRevocation => plain(
                Method::POST,
                at("/global-token-revocation"),
                Body::Json(json!({"sub_id": {"format": "iss_sub", "iss": args.issuer, "sub": value}})),
                vec![("sub", value), ("iss", args.issuer.clone())],
            ),
            // Whoever has no key was told so before.
            kind => anyhow::bail!("{kind:?} needs a key"),
        })
    }

    fn token(args: &Args, key: &SigningKey, value: &str, now: i64) -> anyhow::Result<Self> {
        let mut claims = json!({"iss": args.issuer, "iat": now, "jti": value});
        if let Some(audience) = &args.audience {
            claims["aud"] = audience.as_str().into();
        }
        let (typ, default, name) = match args.kind {
            Kind::SsfPush => {
                // The first example of CAEP 1.0 §3.1, told as a member so that no setting makes a user of it.
                let event = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
                claims["sub_id"] = json!({"format": "complex", "session": {"format": "opaque", "id": value}});
                claims["events"] = json!({event: {"event_timestamp": now}});
                ("secevent+jwt", "/ssf/events", "sid")
            }
            Kind::BackchannelLogout => {
                claims["sid"] = value.into();
                claims["exp"] = (now + TTL).into();
                claims["events"] = json!({logout_token::EVENT: {}});
                ("logout+jwt", "/backchannel-logout", "sid")
            }
            _ => {
                claims["exp"] = (now + TTL).into();
                claims["appid"] = "source-test".into();
                claims["oid"] = value.into();
                ("at+jwt", "/shared/security/invalidate", "jti")
            }
        };
        let token = key.sign(typ, &claims)?;
        let path = args.path.as_deref().unwrap_or(default).trim_end_matches('/').to_owned();
        let (sender, headers, body) = match args.kind {
            Kind::SsfPush => {
                let accept = vec![("accept", "application/json".to_owned())];
                (Sender::Client, accept, Body::Text("application/secevent+jwt", token))
            }
            Kind::BackchannelLogout => (Sender::Nobody, Vec::new(), Body::Form(vec![("logout_token", token)])),
            _ => (Sender::Bearer(token), Vec::new(), Body::Empty),
        };
        let signed = Some(format!("{claims} signed with {}", key.algorithm()));
        let claims = vec![(name, value.to_owned())];
        Ok(Self { method: Method::POST, path, sender, headers, body, signed, claims })
    }

    fn webhook(path: String, key: &WebhookKey, value: &str, now: i64) -> Self {
        let body = json!({"jti": value, "ttl": TTL, "reason": "source test"}).to_string();
        Self {
            method: Method::POST,
            path,
            sender: Sender::Nobody,
            headers: key.headers(&format!("msg_{value}"), now, &body),
            signed: Some(format!("{body} signed in {}", key.name())),
            body: Body::Text("application/json", body),
            claims: vec![("jti", value.to_owned())],
        }
    }

    /// Whether somebody signed it, so that it may be the key that is refused.
    pub fn is_signed(&self) -> bool {
        self.signed.is_some()
    }

    /// The request.
    pub fn request(&self, client: &Client) -> RequestBuilder {
        let mut request = match &self.sender {
            Sender::Client => client.request(self.method.clone(), &self.path),
            Sender::Nobody => client.anonymous(self.method.clone(), &self.path),
            Sender::Bearer(token) => client.anonymous(self.method.clone(), &self.path).bearer_auth(token),
        };
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        match &self.body {
            Body::Empty => request,
            Body::Json(json) => request.json(json),
            Body::Form(form) => request.form(form),
            Body::Text(media_type, text) => request.header(header::CONTENT_TYPE, *media_type).body(text.clone()),
        }
    }

    /// The request on one line, for people. A signed token is shown by what it says: the text of it would be one that works.
    pub fn shown(&self) -> String {
        let body = match (&self.signed, &self.body) {
            (Some(signed), _) => return format!("{} {} {signed}", self.method, self.path),
            (None, Body::Json(json)) => json.to_string(),
            (None, Body::Form(form)) => form.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&"),
            (None, Body::Empty | Body::Text(..)) => String::new(),
        };
        let text = format!("{} {} {body}", self.method, self.path);
        match text.char_indices().nth(SHOWN) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    }
}

/// A JWT that nobody has signed.
fn unsigned(jti: &str, exp: i64) -> String {
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signature = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    format!("{}.{}.{signature}", part(json!({"alg": "HS256", "typ": "JWT"})), part(json!({"jti": jti, "exp": exp})))
}
