//! `revocation-hub source test`: sends what a foreign system would send, and looks whether it arrives.

mod explain;
mod sample;
mod signing;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Method;
use serde_json::Value;

use super::client::{Client, Connection, RequestError, setting};
use super::output;
use crate::clock::Clock;
use crate::formats::signature::Style;
use sample::{Keys, Sample};
use signing::{SigningKey, WebhookKey};

/// What `--help` says below the options.
pub const AFTER_HELP: &str = "\
The sample revokes a random token (ssf_push, backchannel_logout: a random session; global_token_revocation: a random \
subject) that nobody has, mostly for five minutes, and takes it back at the end if this client has the scope `lift`. \
Needs `read`, and `publish` where the sender is a client; for global_token_revocation `rules` too.

ssf_push, backchannel_logout, apim_invalidate and webhook are signed: without a key the command says how to make one and \
how the hub comes to trust it.

Exit codes: 0 it arrived, 1 it was refused or did not arrive, 2 the command line is wrong, 64 the configuration is \
wrong, 69 the hub is not available.

Examples:
  revocation-hub source test wso2_notify
  revocation-hub source test rfc7009 --path /oauth2/revoke --user hub-test --password-file secret
  revocation-hub source test ssf_push --signing-key idp.pem --issuer https://idp.example.com --audience hub
  revocation-hub source test webhook --webhook-secret-file secret --webhook-style github";

/// How long it may take from the answer to the list of this replica.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// The kinds that can be tested: those that serve, and webhooks on the native interface.
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
    /// A Security Event Token: CAEP's session-revoked
    SsfPush,
    /// A logout token of an OpenID provider
    BackchannelLogout,
    /// An access token that ends itself
    ApimInvalidate,
    /// A signed POST /v1/revocations
    Webhook,
}

impl Kind {
    /// The name on the command line and in the configuration.
    fn name(self) -> String {
        use clap::ValueEnum as _;
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it takes signed tokens.
    fn takes_tokens(self) -> bool {
        matches!(self, Kind::SsfPush | Kind::BackchannelLogout | Kind::ApimInvalidate)
    }
}

/// Why the other kinds cannot be tested, by name.
fn untestable(kind: &str) -> Option<&'static str> {
    Some(match kind {
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
        let names: Vec<String> = Kind::value_variants().iter().map(|kind| kind.name()).collect();
        format!("use one of {}", names.join(", "))
    })
}

fn style(text: &str) -> Result<Style, String> {
    match text {
        "standard" => Ok(Style::Standard),
        "github" => Ok(Style::Github),
        "stripe" => Ok(Style::Stripe),
        _ => Err("use one of standard, github, stripe".into()),
    }
}

/// Options of `source test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// wso2_notify, etcd, activemq_rest, rfc7009, global_token_revocation, ssf_push, backchannel_logout, apim_invalidate,
    /// or webhook
    #[arg(value_parser = kind)]
    kind: Kind,
    /// Where the source is served, when its settings say so; for etcd with the directory
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// The issuer of the token, or of the subject of global_token_revocation
    #[arg(long, value_name = "ISS", default_value = "https://source-test.invalid")]
    issuer: String,
    /// For whom the token is: one of the `audiences` of the source
    #[arg(long, value_name = "AUD", help_heading = "Signing")]
    audience: Option<String>,
    /// File with a private key that signs: PEM or JWK; RSA, P-256, P-384 or Ed25519
    #[arg(long, value_name = "FILE", help_heading = "Signing")]
    signing_key: Option<PathBuf>,
    /// What the token calls this key (kid); else the name in the JWK
    #[arg(long, value_name = "KID", requires = "signing_key", help_heading = "Signing")]
    key_id: Option<String>,
    /// File with the secret of a webhook, as `secret_file` of the client has it
    #[arg(long, value_name = "FILE", conflicts_with = "signing_key", help_heading = "Signing")]
    webhook_secret_file: Option<PathBuf>,
    /// How the webhook is signed: standard, github or stripe
    #[arg(long, value_name = "STYLE", value_parser = style, default_value = "standard", help_heading = "Signing")]
    webhook_style: Style,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    /// Whether the options fit the kind; else what to do.
    pub fn check(&self) -> Result<(), String> {
        let kind = self.kind.name();
        let (token, webhook) = (self.kind.takes_tokens(), self.kind == Kind::Webhook);
        if token && self.signing_key.is_none() {
            return Err(explain::signing_key(&kind));
        }
        if webhook && self.signing_key.is_none() && self.webhook_secret_file.is_none() {
            return Err(explain::webhook().into());
        }
        if self.signing_key.is_some() && !token && !webhook {
            return Err(format!("{kind} is not signed; leave --signing-key out"));
        }
        if self.webhook_secret_file.is_some() && !webhook {
            return Err(format!("{kind} is no webhook; leave --webhook-secret-file out"));
        }
        if self.webhook_style != Style::Standard && (!webhook || self.signing_key.is_some()) {
            return Err("--webhook-style goes with webhook and --webhook-secret-file".into());
        }
        if self.audience.is_some() && !token {
            return Err(format!("{kind} has no audience; leave --audience out"));
        }
        if self.kind == Kind::BackchannelLogout && self.audience.is_none() {
            return Err("a logout token is for somebody: give --audience, one of the `audiences` of the source".into());
        }
        Ok(())
    }

    fn keys(&self) -> anyhow::Result<Keys> {
        let key_file = |why: String| setting("--signing-key", why);
        Ok(match (&self.signing_key, &self.webhook_secret_file) {
            (Some(path), _) => {
                let key = SigningKey::read(path, self.key_id.as_deref()).map_err(key_file)?;
                match self.kind {
                    Kind::Webhook => Keys::Webhook(WebhookKey::from_signing_key(key).map_err(key_file)?),
                    _ => Keys::Token(key),
                }
            }
            (None, Some(path)) => {
                let key = WebhookKey::read(self.webhook_style, path);
                Keys::Webhook(key.map_err(|why| setting("--webhook-secret-file", why))?)
            }
            (None, None) => Keys::None,
        })
    }
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
    let sample = Sample::new(&args, &args.keys()?, uuid(), Clock::system().now())?;
    output::line(&format!("sent     {}", output::plain(&sample.shown())))?;
    let answer = client.send(sample.request(&client)).await.map_err(|error| refused(error, &args, &sample));
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

/// The hub's refusal, with advice that fits: where a signature is the credential, others do not help.
fn refused(error: RequestError, args: &Args, sample: &Sample) -> anyhow::Error {
    match error {
        RequestError::Refused(problem) if sample.is_signed() && matches!(problem.status, 400 | 401) => anyhow::anyhow!(
            "{}; whether the hub trusts the key: `revocation-hub source test {}` without one tells what it needs",
            problem.said(),
            args.kind.name()
        ),
        error => error.into(),
    }
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
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn check(line: &str) -> Result<(), String> {
        Line::try_parse_from(["test"].into_iter().chain(line.split(' '))).map_err(|e| e.to_string())?.args.check()
    }

    #[test]
    fn what_cannot_be_tested_says_what_is_missing() {
        assert_eq!(kind("wso2_notify"), Ok(Kind::Wso2Notify));
        assert_eq!(kind("ssf_push"), Ok(Kind::SsfPush));
        assert!(kind("stomp").unwrap_err().contains("broker"));
        assert!(kind("nonsense").unwrap_err().contains("global_token_revocation"));
    }

    #[test]
    fn options_fit_the_kind_or_are_refused() {
        for good in [
            "rfc7009",
            "ssf_push --signing-key k",
            "backchannel_logout --signing-key k --audience a --key-id x",
            "webhook --signing-key k",
            "webhook --webhook-secret-file s --webhook-style stripe",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, says) in [
            ("ssf_push", "openssl genpkey"),
            ("apim_invalidate --audience a", "--signing-key"),
            ("backchannel_logout --signing-key k", "--audience"),
            ("webhook", "openssl rand"),
            ("rfc7009 --signing-key k", "leave --signing-key out"),
            ("etcd --webhook-secret-file s", "leave --webhook-secret-file out"),
            ("etcd --audience a", "leave --audience out"),
            ("webhook --signing-key k --webhook-style github", "--webhook-style"),
            ("webhook --signing-key k --webhook-secret-file s", "cannot be used"),
            ("webhook --webhook-secret-file s --webhook-style other", "standard, github, stripe"),
            ("ssf_push --key-id k", "--signing-key"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
