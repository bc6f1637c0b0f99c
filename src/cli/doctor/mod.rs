//! `revocation-hub doctor`: looks at what a hub depends on and says what to do about it.
//!
//! **Pattern.** Each subject is a [`Check`] with a time limit of its own, and all of them run beside each other. A check
//! looks and never changes: it declares, writes, consumes and locks nothing. What is seen is turned into findings by
//! functions without side effects, so that what cannot be had in a test (a server without fsync) is tested too.

mod certificates;
mod issuers;
mod links;
mod machine;
mod ports;
mod report;
mod settings;
mod store;
mod stream;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};

use super::client::{Connection, Credentials};
use super::exit;
use super::serve::Source;
use crate::config::Config;
use report::{Check, Finding, Report, Severity};

/// What `doctor --help` says below the options.
pub const AFTER_HELP: &str = "\
Looks from this machine, with the settings of the hub, at: the configuration and the files of secrets, the limits of this \
process, the addresses to listen on, the database, the brokers and addresses of sources and outlets, the dates of \
certificates, and the key sets of issuers. It changes nothing, prints no secret, and may run beside a hub. \
Each finding says what was seen and, unless all is well, what to do.

Exit codes:
  0   nothing to do
  1   something has failed: a hub does not work with it, or does not keep its promises
  3   nothing has failed, but there are warnings
  64  the configuration is not accepted, so nothing else was looked at

With --url it also opens an event stream there, through whatever stands in front of the hub, and says whether it comes as it \
is sent. Only this, from a machine without the configuration: --only url --url URL.

Examples:
  revocation-hub doctor --config /etc/revocation-hub.toml
  revocation-hub doctor --only url --url https://hub.example.com --bearer-file token
  revocation-hub doctor --config /etc/revocation-hub.toml --json | jq '.findings[] | select(.severity != \"ok\")'";

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Print one JSON object: version, worst, and findings with check, severity (ok, warning, failed), seen, todo
    #[arg(long)]
    json: bool,
    /// How many seconds each check may take
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Look only at this; may be given several times
    #[arg(long, value_name = "SUBJECT")]
    only: Vec<Subject>,
    /// Open an event stream at this address too, the one that clients use, and see whether something holds it back
    #[arg(long, value_name = "URL", help_heading = "Connection")]
    url: Option<String>,
    #[command(flatten)]
    credentials: Credentials,
}

/// What can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// The configuration, and who may read the files of secrets
    Configuration,
    /// Open files and memory
    Limits,
    /// The addresses to listen on
    Ports,
    /// The database
    Store,
    /// The systems of sources, outlets and proxy
    Links,
    /// The files of certificates, and their dates
    Certificates,
    /// The key sets of issuers
    Issuers,
    /// An event stream through --url
    Url,
}

/// What the checks have in common.
struct Scene {
    config: Config,
    file: Option<PathBuf>,
    limit: Duration,
    public: Option<Connection>,
}

/// Prints what it finds; the exit code says how bad it is.
pub async fn run(args: Args) -> anyhow::Result<u8> {
    let file = args.source.file().map(PathBuf::from);
    let limit = Duration::from_secs(args.timeout);
    let public = args.url.map(|url| Connection { url, credentials: args.credentials });
    let (report, accepted) = match args.source.load() {
        Ok(config) => {
            let mut report = Report::new(&config);
            report.extend(look(&Scene { config, file, limit, public }, &args.only).await);
            (report, true)
        }
        Err(error) => {
            let mut report = Report::new(&Config::default());
            let refused = async |check: &mut Check| {
                check.failed(error.to_string(), "correct it; `revocation-hub config default` explains every setting");
            };
            report.extend(Check::run("configuration", limit, refused).await);
            (report, false)
        }
    };
    if args.json {
        report.print_json()?
    } else {
        report.print_text()?
    }
    Ok(match report.worst() {
        _ if !accepted => exit::CONFIGURATION,
        Severity::Ok => exit::OK,
        Severity::Warning => exit::WARNINGS,
        Severity::Failed => exit::FAILURE,
    })
}

async fn look(scene: &Scene, only: &[Subject]) -> Vec<Finding> {
    let wanted = |subject| only.is_empty() || only.contains(&subject);
    let limit = scene.limit;
    let mut work: Vec<LocalBoxFuture<'_, Vec<Finding>>> = Vec::new();
    if wanted(Subject::Configuration) {
        work.push(Box::pin(Check::run("configuration", limit, async |check| settings::check(scene, check).await)));
    }
    if wanted(Subject::Limits) {
        work.push(Box::pin(Check::run("open files", limit, async |check| machine::open_files(scene, check))));
        work.push(Box::pin(Check::run("memory", limit, async |check| machine::memory(scene, check))));
    }
    if wanted(Subject::Ports) {
        let config = &scene.config;
        let (tls, admin) = (config.tls.files().is_some(), &config.admin);
        let addresses = config.listen.iter().map(|address| (address, tls));
        let of_admin = admin.listen.iter().map(|address| (address, admin.tls.unwrap_or(tls)));
        for (address, tls) in addresses.chain(of_admin) {
            let name = format!("port {address}");
            let look = async move |check: &mut Check| ports::check(scene, *address, tls, check).await;
            work.push(Box::pin(Check::run(name, limit, look)));
        }
    }
    if wanted(Subject::Store) {
        work.push(Box::pin(Check::run("store", limit, async |check| store::check(scene, check).await)));
    }
    if wanted(Subject::Links) {
        for source in &scene.config.sources {
            let name = format!("source \"{}\"", source.name);
            work.push(Box::pin(Check::run(name, limit, async |check| links::source(source, check).await)));
        }
        for outlet in &scene.config.outlets {
            let name = format!("outlet \"{}\"", outlet.name);
            work.push(Box::pin(Check::run(name, limit, async |check| links::outlet(outlet, check).await)));
        }
        if let Some(url) = &scene.config.proxy.url {
            let look = async |check: &mut Check| links::proxy(&scene.config.proxy, url, check).await;
            work.push(Box::pin(Check::run("proxy", limit, look)));
        }
    }
    if wanted(Subject::Certificates) {
        work.push(Box::pin(Check::run("certificates", limit, async |check| certificates::check(scene, check).await)));
    }
    if wanted(Subject::Issuers) {
        for issuer in &scene.config.issuers {
            let name = format!("issuer {}", issuer.issuer);
            work.push(Box::pin(Check::run(name, limit, async |check| issuers::check(issuer, check).await)));
        }
    }
    if let Some(connection) = scene.public.as_ref().filter(|_| wanted(Subject::Url)) {
        let look = async |check: &mut Check| stream::check(scene, connection, check).await;
        work.push(Box::pin(Check::run("url", stream::limit(scene), look)));
    }
    join_all(work).await.into_iter().flatten().collect()
}
