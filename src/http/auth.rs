//! Who is calling: Basic (RFC 7617) and bearer tokens (RFC 6750) against the configured clients, JWTs against the issuers
//! whose tokens are credentials, and certificates that the handshake has found good.
//!
//! An `Authorization` header decides where there is one: who sends it means it, so a wrong one is an error whatever the
//! certificate says. Without it the certificate decides. Neither adds to the other.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::Extensions;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::admission::Ticket;
use super::problem::{Code, Problem};
use super::via::Via;
use crate::actor::Actor;
use crate::clock::Clock;
use crate::config::{CertificateName, Client, Scope, Shown};
use crate::issuers::{Issuers, SignedIn, VerifyError};
use crate::revocation::Claims;
use crate::tls::certificate::ClientCertificate;

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
    /// Set when its credentials are no longer those of a client.
    withdrawn: Arc<AtomicBool>,
}

impl Caller {
    /// Whether the caller has the scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.contains(&scope))
    }

    /// Whether its credentials have stopped being good since they were looked at: the client is gone, or is another one now.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }

    /// Whose share of the budgets it uses. `None` for those whom nobody can tell apart: without clients everybody has one
    /// name, and most have one address.
    pub fn account(&self) -> Option<&Arc<str>> {
        self.scopes.is_some().then_some(&self.name)
    }

    /// The same caller, whose request has come in this way.
    #[must_use]
    pub fn by(mut self, via: Via) -> Self {
        let issuer = self.token.as_ref().and_then(|claims| claims.iss.as_ref()?.as_deref().map(Arc::from));
        self.actor = if self.scopes.is_some() { via.client(self.name.clone(), issuer) } else { via.unknown() };
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

/// What a request shows of its sender.
#[derive(Clone, Debug, Default)]
pub struct Presented {
    /// The header `Authorization`.
    pub authorization: Option<HeaderValue>,
    /// The certificate of the connection.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl Presented {
    fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let authorization = headers.get(header::AUTHORIZATION).cloned();
        Self { authorization, certificate: extensions.get::<Arc<ClientCertificate>>().cloned() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Presented {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers, &parts.extensions))
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
    clients: RwLock<Arc<Clients>>,
    tokens: Option<(Arc<Issuers>, IsRevoked)>,
    clock: Clock,
}

/// The configured clients by their credentials.
struct Clients {
    configured: Vec<(Client, Arc<AtomicBool>)>,
    secrets: Vec<(Fingerprint, Caller)>,
    certificates: Vec<(Shown, Caller)>,
    challenges: Vec<HeaderValue>,
}

impl Clients {
    /// The clients; whoever is among `before` just so keeps what was begun with its credentials.
    fn new(clients: &[Client], before: &[(Client, Arc<AtomicBool>)]) -> Self {
        let mut all =
            Self { configured: Vec::new(), secrets: Vec::new(), certificates: Vec::new(), challenges: Vec::new() };
        for client in clients {
            let same = before.iter().find(|(other, _)| other == client);
            let withdrawn = same.map_or_else(Arc::default, |(_, withdrawn)| withdrawn.clone());
            all.configured.push((client.clone(), withdrawn.clone()));
            let mut caller = Caller { withdrawn, ..Authenticator::caller(client) };
            if let Some(basic) = &client.basic {
                caller.client_id = Some(basic.username.as_str().into());
                let pair = format!("{}:{}", basic.username, basic.password.expose());
                all.secrets.push((fingerprint("basic", pair.as_bytes()), caller.clone()));
            }
            if let Some(Ok(name)) = client.certificate.as_ref().map(CertificateName::name) {
                // RFC 8705 §2: the certificate proves a client, which has one name in OAuth.
                let client_id = caller.client_id.clone().unwrap_or_else(|| caller.name.clone());
                all.certificates.push((name, Caller { client_id: Some(client_id), ..caller.clone() }));
            }
            if let Some(bearer) = &client.bearer {
                all.secrets.push((fingerprint("bearer", bearer.token.expose().as_bytes()), caller));
            }
        }
        if clients.iter().any(|c| c.basic.is_some()) {
            all.challenges.push(HeaderValue::from_static(r#"Basic realm="revocation-hub", charset="UTF-8""#));
        }
        if clients.iter().any(|c| c.bearer.is_some()) {
            all.challenges.push(HeaderValue::from_static(BEARER));
        }
        all
    }

    /// The one client whose certificate this is.
    fn by_certificate(&self, certificate: &ClientCertificate) -> Result<&Caller, String> {
        let mut fitting =
            self.certificates.iter().filter(|(name, _)| name.is_of(certificate)).map(|(_, caller)| caller);
        match (fitting.next(), fitting.next()) {
            (Some(caller), None) => Ok(caller),
            // Which of them is meant should not be guessed.
            (Some(a), Some(b)) => Err(format!("the certificate is that of the clients {} and {}", a.name, b.name)),
            (None, _) => Err(format!("no client has the certificate of {}", certificate.subject)),
        }
    }

    fn find(&self, presented: &Fingerprint) -> Option<&Caller> {
        // Every client is looked at, whichever matches, so that the time tells nothing.
        let mut found = 0u32;
        for (place, (known, _)) in (1u32..).zip(&self.secrets) {
            let same: Choice = known.ct_eq(presented);
            found.conditional_assign(&place, same);
        }
        let (_, caller) = self.secrets.get(found.checked_sub(1)? as usize)?;
        Some(caller)
    }
}

impl Authenticator {
    /// An authenticator for these clients. Without any, everybody may do everything; that the hub then listens on
    /// loopback only is checked where the configuration is.
    pub fn new(clients: &[Client], clock: Clock) -> Self {
        Self { clients: RwLock::new(Arc::new(Clients::new(clients, &[]))), tokens: None, clock }
    }

    /// From here on these are the clients. Streams of those that are not among them any more, or not just so, end.
    pub fn renew(&self, clients: &[Client]) {
        let mut current = self.clients.write();
        let renewed = Clients::new(clients, &current.configured);
        for (client, withdrawn) in &current.configured {
            if !clients.contains(client) {
                withdrawn.store(true, Ordering::Release);
            }
        }
        *current = Arc::new(renewed);
    }

    /// Whoever calls, when nobody has to say who it is.
    fn anybody(&self, clients: &Clients) -> Option<Caller> {
        (clients.configured.is_empty() && self.tokens.is_none()).then(|| Caller {
            name: "http".into(),
            scopes: None,
            issuers: None,
            keep_opaque: None,
            max_token_lifetime: None,
            client_id: None,
            expires_at: None,
            token: None,
            actor: Arc::default(),
            withdrawn: Arc::default(),
        })
    }

    /// The same with the tokens of those of the issuers that the configuration takes for credentials. Authentication is
    /// before the ledger's readers, so it is handed the one question that it has for it.
    #[must_use]
    pub fn with_tokens(mut self, issuers: Arc<Issuers>, is_revoked: IsRevoked) -> Self {
        if issuers.have_credentials() {
            self.tokens = Some((issuers, is_revoked));
        }
        self
    }

    /// A problem that shows how to sign in (RFC 9110 §11.6.1).
    fn refuse(&self, clients: &Clients, detail: &str) -> Problem {
        let mut challenges = clients.challenges.clone();
        let bearer = HeaderValue::from_static(BEARER);
        if self.tokens.is_some() && !challenges.contains(&bearer) {
            challenges.push(bearer);
        }
        Problem::new(Code::Unauthorized, detail).challenge(&challenges)
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
            withdrawn: Arc::default(),
        }
    }

    /// Who presents this; `None` when nobody is named by it. Wrong credentials are an error all the same, but a certificate
    /// that is no client's is none: every connection may need one.
    pub async fn identify(&self, presented: &Presented) -> Result<Option<Caller>, Problem> {
        let clients = self.clients.read().clone();
        if presented.authorization.is_none() && self.anybody(&clients).is_none() {
            let certificate =
                presented.certificate.as_ref().filter(|shown| shown.dates.complaint(self.clock.now()).is_none());
            return Ok(certificate.and_then(|shown| clients.by_certificate(shown).ok()).cloned());
        }
        self.authenticate(presented).await.map(Some)
    }

    /// Who shows this user name and password, or client identifier and secret (RFC 6749 §2.3.1).
    pub fn password(&self, username: &str, password: &str) -> Result<Caller, Problem> {
        let clients = self.clients.read().clone();
        if let Some(anybody) = self.anybody(&clients) {
            return Ok(anybody);
        }
        let presented = fingerprint("basic", format!("{username}:{password}").as_bytes());
        let found = clients.find(&presented).cloned();
        found.ok_or_else(|| self.refuse(&clients, "these credentials are not known"))
    }

    /// Who presents this.
    pub async fn authenticate(&self, presented: &Presented) -> Result<Caller, Problem> {
        let clients = self.clients.read().clone();
        if let Some(anybody) = self.anybody(&clients) {
            return Ok(anybody);
        }
        let refuse = |detail: &str| self.refuse(&clients, detail);
        let Some(header) = &presented.authorization else {
            let shown = presented.certificate.as_ref().ok_or_else(|| refuse("credentials are needed"))?;
            let caller = clients.by_certificate(shown).map_err(|why| refuse(&why))?;
            // The handshake has seen to it, but connections live.
            if let Some(why) = shown.dates.complaint(self.clock.now()) {
                return Err(refuse(&format!("the certificate {why}")));
            }
            return Ok(Caller { expires_at: Some(shown.dates.until), ..caller.clone() });
        };
        let fingerprint = read(header.as_bytes()).ok_or_else(|| refuse("the Authorization header cannot be read"))?;
        if let Some(caller) = clients.find(&fingerprint) {
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
            withdrawn: Arc::default(),
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
    let presented = Presented::of(request.headers(), request.extensions());
    match authenticator.authenticate(&presented).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}
