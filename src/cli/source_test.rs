//! `revocation-hub source test`: sends what a foreign system would send, and looks whether it arrives.

use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::client::{Client, Connection};
use super::output;
use crate::clock::Clock;

/// What `--help` says below the options.
pub const AFTER_HELP: &str = "\
The sample revokes a random token (global_token_revocation: a random subject) that nobody has, mostly for five minutes, \
and takes it back at the end if this client has the scope `lift`. Needs `publish` and `read`; for \
global_token_revocation `rules` too.

Exit codes: 0 it arrived, 1 it was refused or did not arrive, 2 the command line is wrong, 64 the configuration is \
wrong, 69 the hub is not available.

Examples:
  revocation-hub source test wso2_notify
  revocation-hub source test rfc7009 --path /oauth2/revoke --user hub-test --password-file secret";

/// How long the sample is in force where its form can say so, seconds. Longer than clocks are apart.
const TTL: i64 = 300;
/// How long it may take from the answer to the list of this replica.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// How much of what was sent is shown, characters.
const SHOWN: usize = 160;

/// The kinds that can be tested: those that serve and whose senders sign nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// A key manager's POST …/notify
    Wso2Notify,
    /// A PUT of a key, as the STS of WSO2 does it
    Etcd,
    /// The form of WSO2's documentation
    ActivemqRest,
    /// Token revocation by an OAuth client, of a JWT that only a caller with `publish` is believed
    Rfc7009,
    /// All tokens of a subject
    GlobalTokenRevocation,
}

/// Why the other kinds cannot be tested, by name.
fn untestable(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "ssf_push" | "backchannel_logout" | "apim_invalidate" => {
            "needs a token signed with the private key of one of [[issuers]], which this command does not have; \
             let the issuer send one"
        }
        "amqp" | "amqp1" | "stomp" => "listens to a broker; publish a message there",
        "ssf_poll" | "wso2_snapshot" => "fetches by itself; see `revocation-hub source list`",
        _ => return None,
    })
}

fn kind(text: &str) -> Result<Kind, String> {
    use clap::ValueEnum as _;
    if let Some(why) = untestable(text) {
        return Err(why.into());
    }
    Kind::from_str(text, false).map_err(|_| {
        let names = Kind::value_variants().iter().filter_map(Kind::to_possible_value);
        let names: Vec<String> = names.map(|value| value.get_name().to_owned()).collect();
        format!("use one of {}", names.join(", "))
    })
}

/// Options of `source test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// wso2_notify, etcd, activemq_rest, rfc7009 or global_token_revocation
    #[arg(value_parser = kind)]
    kind: Kind,
    /// Where the source is served, when its settings say so; for etcd with the directory
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// The issuer of the subject of global_token_revocation
    #[arg(long, value_name = "ISS", default_value = "https://source-test.invalid")]
    issuer: String,
    #[command(flatten)]
    connection: Connection,
}

/// A request of a foreign system, and what it should bring about.
struct Sample {
    method: Method,
    path: String,
    body: Body,
    /// What `/v1/check` is asked.
    claims: Vec<(&'static str, String)>,
}

enum Body {
    Json(Value),
    Form(Vec<(&'static str, String)>),
}

impl Sample {
    fn new(args: &Args, value: String, now: i64) -> Self {
        let at = |default: &str| args.path.as_deref().unwrap_or(default).trim_end_matches('/').to_owned();
        let jti = vec![("jti", value.clone())];
        match args.kind {
            Kind::Wso2Notify => Self {
                method: Method::POST,
                path: at("/internal/data/v1/notify"),
                body: Body::Json(json!({
                    "type": "token_revocation", "accessToken": value, "tokenType": "JWT", "expiryTime": (now + TTL) * 1000,
                })),
                claims: jti,
            },
            Kind::Etcd => Self {
                method: Method::PUT,
                path: format!("{}/{value}", at("/v2/keys/jti")),
                body: Body::Form(vec![("value", value), ("ttl", TTL.to_string())]),
                claims: jti,
            },
            Kind::ActivemqRest => Self {
                method: Method::POST,
                path: at("/api/message/tokenRevocation"),
                body: Body::Form(vec![("revokedToken", value), ("ttl", TTL.to_string())]),
                claims: jti,
            },
            Kind::Rfc7009 => Self {
                method: Method::POST,
                path: at("/revoke"),
                body: Body::Form(vec![("token", jwt(&value, now + TTL))]),
                claims: jti,
            },
            Kind::GlobalTokenRevocation => Self {
                method: Method::POST,
                path: at("/global-token-revocation"),
                body: Body::Json(json!({"sub_id": {"format": "iss_sub", "iss": args.issuer, "sub": value}})),
                claims: vec![("sub", value), ("iss", args.issuer.clone())],
            },
        }
    }

    fn request(&self, client: &Client) -> RequestBuilder {
        let request = client.request(self.method.clone(), &self.path);
        match &self.body {
            Body::Json(json) => request.json(json),
            Body::Form(form) => request.form(form),
        }
    }

    fn shown(&self) -> String {
        let body = match &self.body {
            Body::Json(json) => json.to_string(),
            Body::Form(form) => form.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&"),
        };
        let text = format!("{} {} {body}", self.method, self.path);
        match text.char_indices().nth(SHOWN) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    }
}

/// A JWT that nobody has signed.
fn jwt(jti: &str, exp: i64) -> String {
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signature = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    format!("{}.{}.{signature}", part(json!({"alg": "HS256", "typ": "JWT"})), part(json!({"jti": jti, "exp": exp})))
}

/// A random UUID (RFC 9562 §5.4): what most issuers have for a `jti`.
fn uuid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Sends the sample and tells what became of it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = args.connection.client()?;
    let sample = Sample::new(&args, uuid(), Clock::system().now());
    output::line(&format!("sent     {}", output::plain(&sample.shown())))?;
    let answer = client.send(sample.request(&client)).await;
    let answer = answer.with_context(|| format!("a source of this kind at {}", sample.path))?;
    output::line(&format!("answer   {}", answer.status()))?;
    let by = arrival(&client, &sample).await.context("it was sent, but nobody can say whether it arrived")?;
    let by = by.context(
        "it was answered but did not arrive: the source may have set it aside, see `revocation-hub source list`",
    )?;
    output::line(&format!("arrived  {}", output::describe(&by)))?;
    let id = output::text(&by, "id");
    match client.send(client.request(Method::DELETE, &format!("/v1/revocations/{id}"))).await {
        Ok(_) => output::line(&format!("lifted   {id}"))?,
        // It did arrive, which is what was asked; and nobody has that token.
        Err(error) => output::line(&format!("not lifted {id}: {error}"))?,
    }
    Ok(())
}

/// What hits the sample, as soon as this replica knows it.
async fn arrival(client: &Client, sample: &Sample) -> anyhow::Result<Option<Value>> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let response = client.send(client.request(Method::GET, "/v1/check").query(&sample.claims)).await?;
        let answer: Value = response.json().await.map_err(|e| client.unreachable(&e))?;
        if answer["revoked"] == true {
            return Ok(Some(answer["by"].clone()));
        }
        if tokio::time::Instant::now() >= deadline {
            return Ok(None);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_tested_says_what_is_missing() {
        assert_eq!(kind("wso2_notify"), Ok(Kind::Wso2Notify));
        assert_eq!(kind("rfc7009"), Ok(Kind::Rfc7009));
        assert!(kind("ssf_push").unwrap_err().contains("private key"));
        assert!(kind("stomp").unwrap_err().contains("broker"));
        assert!(kind("nonsense").unwrap_err().contains("global_token_revocation"));
    }
}
