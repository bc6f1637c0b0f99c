//! Who is calling: Basic (RFC 7617) and bearer tokens (RFC 6750) against the configured clients, and JWTs against the
//! issuers whose tokens are credentials.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::admission::Ticket;
use super::problem::{Code, Problem};
use super::via::Via;
use crate::actor::Actor;
use crate::config::{Client, Scope};
use crate::issuers::{Issuers, SignedIn, VerifyError};
use crate::revocation::Claims;

/// Somebody whose credentials were good, or anybody when none are configured.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The client's name; revocations carry it as their source.
    pub name: Arc<str>,
    /// What it may do. `None`: everything, because no clients are configured.
    scopes: Option<Arc<[Scope]>>,
    /// The issuers it is bound to.
    pub issuers: Option<Arc<[String]>>,
    /// The client's own `keep_opaque`.
    pub keep_opaque: Option<bool>,
    /// The client's own `max_token_lifetime`, seconds.
    pub max_token_lifetime: Option<i64>,
    /// The OAuth client that it has proved to be: its user name, or the client that its token names.
    pub client_id: Option<Arc<str>>,
    /// When its credential expires, NumericDate seconds. `None`: not by itself.
    pub expires_at: Option<i64>,
    /// What the ledger is asked about its token, when that is a JWT.
    pub token: Option<Arc<Claims>>,
    /// The same caller as the audit has it, with the way by which the request came. Without a client where nobody has to
    /// show credentials.
    pub actor: Arc<Actor>,
}

impl Caller {
    /// Whether the caller has the scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.contains(&scope))
    }

    /// Whose share of the budgets it uses. `None` for those whom nobody can tell apart: without clients everybody has one
    /// name, and most have one address.
    pub fn account(&self) -> Option<&Arc<str>> {
        self.scopes.is_some().then_some(&self.name)
    }

    /// The same caller, whose request has come in this way.
    #[must_use]
    pub fn by(mut self, via: Via) -> Self {
        self.actor = if self.scopes.is_some() { via.client(self.name.clone()) } else { via.unknown() };
        self
    }

    /// An error that names the scope, when the caller lacks it.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.may(scope) {
            return Ok(());
        }
        let detail = format!("client {} lacks the scope {}", self.name, scope.name());
        Err(Problem::new(Code::MissingScope, detail))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Problem::new(Code::Internal, "the route is not behind authentication");
        let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(missing)?;
        if let Some(ticket) = parts.extensions.get::<Ticket>() {
            ticket.belongs_to(&caller)?;
        }
        Ok(caller.by(Via::of(parts)))
    }
}

/// SHA-256 of a credential: comparing digests takes the same time whatever the length.
type Fingerprint = [u8; 32];

fn fingerprint(scheme: &str, credential: &[u8]) -> Fingerprint {
    Sha256::new().chain_update(scheme).chain_update([0]).chain_update(credential).finalize().into()
}

/// Whether the ledger has a revocation that hits a token; `None` when it is not loaded, so that nobody knows.
pub type IsRevoked = Box<dyn Fn(&Claims) -> Option<bool> + Send + Sync>;

/// Knows the configured clients, and the issuers whose tokens are credentials.
pub struct Authenticator {
    known: Vec<(Fingerprint, Caller)>,
    anybody: Option<Caller>,
    tokens: Option<(Arc<Issuers>, IsRevoked)>,
    challenges: Vec<HeaderValue>,
}

impl Authenticator {
    /// An authenticator for these clients. Without any, everybody may do everything; that the hub then listens on
    /// loopback only is checked where the configuration is.
    pub fn new(clients: &[Client]) -> Self {
        let mut known = Vec::new();
        let mut challenges = Vec::new();
        for client in clients {
            let mut caller = Self::caller(client);
            if let Some(basic) = &client.basic {
                caller.client_id = Some(basic.username.as_str().into());
                let pair = format!("{}:{}", basic.username, basic.password.expose());
                known.push((fingerprint("basic", pair.as_bytes()), caller.clone()));
            }
            if let Some(bearer) = &client.bearer {
                known.push((fingerprint("bearer", bearer.token.expose().as_bytes()), caller));
            }
        }
        if clients.iter().any(|c| c.basic.is_some()) {
            challenges.push(HeaderValue::from_static(r#"Basic realm="revocation-hub", charset="UTF-8""#));
        }
        if clients.iter().any(|c| c.bearer.is_some()) {
            challenges.push(HeaderValue::from_static(BEARER));
        }
        let anybody = clients.is_empty().then(|| Caller {
            name: "http".into(),
            scopes: None,
            issuers: None,
            keep_opaque: None,
            max_token_lifetime: None,
            client_id: None,
            expires_at: None,
            token: None,
            actor: Arc::default(),
        });
        Self { known, anybody, tokens: None, challenges }
    }

    /// The same with the tokens of those of the issuers that the configuration takes for credentials. Authentication is
    /// before the ledger's readers, so it is handed the one question that it has for it.
    #[must_use]
    pub fn with_tokens(mut self, issuers: Arc<Issuers>, is_revoked: IsRevoked) -> Self {
        if issuers.have_credentials() {
            self.anybody = None;
            self.tokens = Some((issuers, is_revoked));
            let bearer = HeaderValue::from_static(BEARER);
            if !self.challenges.contains(&bearer) {
                self.challenges.push(bearer);
            }
        }
        self
    }

    /// What to show to whoever is refused (RFC 9110 §11.6.1).
    pub fn challenges(&self) -> &[HeaderValue] {
        &self.challenges
    }

    /// A client as a caller whose credentials were good.
    pub fn caller(client: &Client) -> Caller {
        Caller {
            name: client.name.as_str().into(),
            scopes: Some(client.scopes.clone().into()),
            issuers: client.issuers.clone().map(Into::into),
            keep_opaque: client.keep_opaque,
            max_token_lifetime: client.max_token_lifetime.map(|d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX)),
            client_id: None,
            expires_at: None,
            token: None,
            actor: Arc::default(),
        }
    }

    /// Who presents this header; `None` when nothing is presented. Wrong credentials are an error all the same.
    pub async fn identify(&self, authorization: Option<&HeaderValue>) -> Result<Option<Caller>, Problem> {
        match authorization {
            None if self.anybody.is_none() => Ok(None),
            presented => self.authenticate(presented).await.map(Some),
        }
    }

    /// Who shows this user name and password, or client identifier and secret (RFC 6749 §2.3.1).
    pub fn password(&self, username: &str, password: &str) -> Result<Caller, Problem> {
        if let Some(anybody) = &self.anybody {
            return Ok(anybody.clone());
        }
        let presented = fingerprint("basic", format!("{username}:{password}").as_bytes());
        let unknown =
            || Problem::new(Code::Unauthorized, "these credentials are not known").challenge(&self.challenges);
        self.find(&presented).cloned().ok_or_else(unknown)
    }

    /// Who presents this header.
    pub async fn authenticate(&self, authorization: Option<&HeaderValue>) -> Result<Caller, Problem> {
        if let Some(anybody) = &self.anybody {
            return Ok(anybody.clone());
        }
        let refuse = |detail: &str| Problem::new(Code::Unauthorized, detail).challenge(&self.challenges);
        let header = authorization.ok_or_else(|| refuse("credentials are needed"))?;
        let presented = read(header.as_bytes()).ok_or_else(|| refuse("the Authorization header cannot be read"))?;
        if let Some(caller) = self.find(&presented) {
            return Ok(caller.clone());
        }
        match (&self.tokens, bearer(header.as_bytes())) {
            (Some((issuers, is_revoked)), Some(text)) => {
                let signed_in = issuers.sign_in(text).await.map_err(|error| match error {
                    VerifyError::Unavailable => Problem::new(Code::KeysUnavailable, error.to_string()),
                    error => refuse(&error.to_string()),
                })?;
                match is_revoked(&signed_in.claims) {
                    None => Err(Problem::not_loaded()),
                    Some(true) => Err(refuse("the token is revoked")),
                    Some(false) => Ok(signed_in.into()),
                }
            }
            _ => Err(refuse("these credentials are not known")),
        }
    }

    fn find(&self, presented: &Fingerprint) -> Option<&Caller> {
        // Every client is looked at, whichever matches, so that the time tells nothing.
        let mut found = 0u32;
        for (place, (known, _)) in (1u32..).zip(&self.known) {
            let same: Choice = known.ct_eq(presented);
            found.conditional_assign(&place, same);
        }
        let (_, caller) = self.known.get(found.checked_sub(1)? as usize)?;
        Some(caller)
    }
}

impl From<SignedIn> for Caller {
    fn from(signed_in: SignedIn) -> Self {
        Self {
            name: signed_in.name,
            scopes: Some(signed_in.scopes),
            issuers: signed_in.issuers,
            keep_opaque: None,
            max_token_lifetime: None,
            client_id: signed_in.client_id,
            expires_at: Some(signed_in.expires_at),
            token: Some(Arc::new(signed_in.claims)),
            actor: Arc::default(),
        }
    }
}

const BEARER: &str = r#"Bearer realm="revocation-hub""#;

/// The token of a bearer header.
pub fn bearer(header: &[u8]) -> Option<&str> {
    let (scheme, rest) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim_ascii())
}

fn read(header: &[u8]) -> Option<Fingerprint> {
    let blank = header.iter().position(|b| *b == b' ')?;
    let (scheme, rest) = (&header[..blank], header[blank..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"basic") {
        Some(fingerprint("basic", &STANDARD.decode(rest).ok()?))
    } else if scheme.eq_ignore_ascii_case(b"bearer") {
        Some(fingerprint("bearer", rest))
    } else {
        None
    }
}

/// Lets only callers through whose credentials are good.
pub async fn authenticate(
    State(authenticator): State<Arc<Authenticator>>,
    mut request: Request,
    next: Next,
) -> Response {
    // A signed webhook has been signed in by its signature.
    if request.extensions().get::<Caller>().is_some() {
        return next.run(request).await;
    }
    let authorization = request.headers().get(header::AUTHORIZATION).cloned();
    match authenticator.authenticate(authorization.as_ref()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}
