//! The command line: the daemon, its helpers, and a client for people and scripts.

mod arrival;
mod audit;
mod check;
pub mod client;
mod doctor;
mod epoch;
pub mod exit;
mod health;
mod lift;
mod links;
mod list;
mod manual;
mod output;
mod parked;
pub mod promise;
mod revoke;
mod selector;
mod serve;
mod source_test;
pub mod sse;
mod transfer;
mod watch;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

const AFTER_HELP: &str = "\
Exit codes:
  0   it worked (check: not revoked)
  1   it did not work (check: revoked; healthcheck: not ready)
  2   the command line is wrong
  3   nothing has failed, but there are warnings (doctor)
  64  the configuration is wrong
  69  the hub or the database is not available; trying again may help
  70  the event stream broke a promise (watch)

Without a command, `revocation-hub` does what `revocation-hub serve` does.

A first session:
  revocation-hub serve &
  revocation-hub watch &
  revocation-hub revoke --jti 4f6d2a19 --ttl 1h
  revocation-hub check --jti 4f6d2a19";

/// Tells every API gateway, at once and provably, which tokens are no longer valid
#[derive(Debug, Parser)]
#[command(
    name = "revocation-hub",
    version,
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    max_term_width = 120,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the hub
    #[command(after_help = serve::SERVE_HELP)]
    Serve(serve::ServeArgs),
    /// Apply pending database migrations and end
    #[command(after_help = serve::MIGRATE_HELP)]
    Migrate(serve::Source),
    /// Revoke a token, or all tokens of a session, subject, client, key or issuer
    #[command(after_help = revoke::AFTER_HELP)]
    Revoke(revoke::Args),
    /// Take revocations back
    #[command(after_help = lift::AFTER_HELP)]
    Lift(lift::Args),
    /// Ask whether a token is revoked; the exit code is the answer
    #[command(after_help = check::AFTER_HELP)]
    Check(check::Args),
    /// List what is revoked now
    #[command(after_help = list::AFTER_HELP)]
    List(list::Args),
    /// Follow the event stream and check that its promises are kept
    #[command(after_help = watch::AFTER_HELP)]
    Watch(watch::Args),
    /// See what the connections to other systems do that bring revocations, and try them
    #[command(subcommand, after_help = links::SOURCE_HELP, disable_help_subcommand = true)]
    Source(links::SourceCommand),
    /// See what the connections to other systems do that are told of revocations
    #[command(subcommand, after_help = links::OUTLET_HELP, disable_help_subcommand = true)]
    Outlet(links::OutletCommand),
    /// Look at messages that could not be read, send them through once more, or drop them
    #[command(subcommand, after_help = parked::AFTER_HELP, disable_help_subcommand = true)]
    Parked(parked::Command),
    /// See who revoked or lifted what, when, from where and through which source
    #[command(after_help = audit::AFTER_HELP)]
    Audit(audit::Args),
    /// Write the whole log to a file, to keep it or to take it to another database
    #[command(after_help = transfer::EXPORT_HELP)]
    Export(transfer::ExportArgs),
    /// Write what `export` has written into a database
    #[command(after_help = transfer::IMPORT_HELP)]
    Import(transfer::ImportArgs),
    /// See the epoch of the log, or renew it after a backup was restored
    #[command(subcommand, after_help = epoch::AFTER_HELP, disable_help_subcommand = true)]
    Epoch(epoch::Command),
    /// Print or check the configuration
    #[command(subcommand, after_help = serve::CONFIG_HELP, disable_help_subcommand = true)]
    Config(serve::ConfigCommand),
    /// Ask whether the hub is ready; for container probes
    #[command(after_help = health::AFTER_HELP)]
    Healthcheck(health::Args),
    /// Look at everything that a hub depends on, and say what is wrong and what to do
    #[command(after_help = doctor::AFTER_HELP)]
    Doctor(doctor::Args),
    /// Print a script that completes commands and options in a shell
    #[command(after_help = manual::COMPLETIONS_HELP)]
    Completions(manual::Completions),
    /// Write the manual pages
    #[command(after_help = manual::MAN_HELP)]
    Man(manual::Man),
    /// Measure a hub: revocations per second, fan-out, snapshot, memory, catch-up
    Bench(crate::bench::Args),
}

/// Does what the command line says, on a runtime of its own, and returns the exit code.
// Here and not in the program: what is awaited there is compiled a second time.
pub fn run(cli: Cli) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("revocation-hub: cannot start threads: {error}");
            return exit::FAILURE;
        }
    };
    let code = runtime.block_on(answer(cli));
    // What still runs is the lookup of a name or the like. A resolver that is away must not hold up the end.
    runtime.shutdown_background();
    code
}

/// Errors are printed here and nowhere else.
async fn answer(cli: Cli) -> u8 {
    let command = cli.command.unwrap_or(Command::Serve(cli.serve));
    let result = match command {
        Command::Serve(args) => serve::serve(args).await.map(|()| exit::OK),
        Command::Migrate(source) => serve::migrate(source).await.map(|()| exit::OK),
        Command::Revoke(args) => {
            args.check().unwrap_or_else(|why| usage("revoke", &why));
            revoke::run(args).await.map(|()| exit::OK)
        }
        Command::Lift(args) => lift::run(args).await.map(|()| exit::OK),
        Command::Check(args) => {
            args.check().unwrap_or_else(|why| usage("check", &why));
            return check_code(check::run(args).await);
        }
        Command::Completions(args) => manual::completions(&args).map(|()| exit::OK),
        Command::Man(args) => manual::man(&args).map(|()| exit::OK),
        Command::List(args) => list::run(args).await.map(|()| exit::OK),
        Command::Watch(args) => watch::run(args).await.map(|()| exit::OK),
        Command::Source(command) => {
            command.check().unwrap_or_else(|why| usage("source test", &why));
            links::sources(command).await.map(|()| exit::OK)
        }
        Command::Outlet(command) => links::outlets(command).await.map(|()| exit::OK),
        Command::Parked(command) => parked::run(command).await.map(|()| exit::OK),
        Command::Audit(args) => audit::run(args).await.map(|()| exit::OK),
        Command::Export(args) => transfer::export(args).await.map(|()| exit::OK),
        Command::Import(args) => transfer::import(args).await.map(|()| exit::OK),
        Command::Epoch(command) => epoch::run(command).await.map(|()| exit::OK),
        Command::Config(command) => serve::config(command).map(|()| exit::OK),
        Command::Healthcheck(args) => health::run(args).await.map(|ready| if ready { exit::OK } else { exit::FAILURE }),
        Command::Doctor(args) => doctor::run(args).await,
        Command::Bench(args) => crate::bench::run(args).await.map(|()| exit::OK),
    };
    result.unwrap_or_else(|error| {
        report(&error);
        exit::code(&error)
    })
}

/// For `check`, 1 means "revoked" and nothing else, so that no failure is taken for an answer, and none is success.
fn check_code(result: anyhow::Result<bool>) -> u8 {
    match result {
        Ok(false) => exit::OK,
        Ok(true) => exit::FAILURE,
        Err(error) => {
            report(&error);
            if error.is::<crate::config::ConfigError>() { exit::CONFIGURATION } else { exit::UNAVAILABLE }
        }
    }
}

fn report(error: &anyhow::Error) {
    if !exit::is_closed_pipe(error) {
        eprintln!("revocation-hub: {error:#}");
    }
}

/// Ends the process as clap does when the options do not fit together. `command` is its name, a subcommand behind a blank.
fn usage(command: &str, why: &str) -> ! {
    let mut all = Cli::command();
    all.build();
    let mut found = &mut all;
    for name in command.split(' ') {
        if found.find_subcommand(name).is_none() {
            break;
        }
        found = found.find_subcommand_mut(name).expect("it was there a moment ago");
    }
    found.error(ErrorKind::ArgumentConflict, why).exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_what_happens_without_a_command() {
        let cli = Cli::try_parse_from(["revocation-hub", "--listen", "127.0.0.1:1", "--listen", "[::1]:2"]).unwrap();
        assert!(cli.command.is_none());
        let cli = Cli::try_parse_from(["revocation-hub", "serve", "--log-format", "json"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Serve(_))));
    }

    #[test]
    fn options_that_do_not_fit_together_are_refused() {
        let check = |args: &[&str]| {
            let cli = Cli::try_parse_from([&["revocation-hub"], args].concat()).unwrap();
            match cli.command {
                Some(Command::Revoke(args)) => args.check(),
                Some(Command::Check(args)) => args.check(),
                _ => Ok(()),
            }
        };
        assert_eq!(check(&["revoke", "--jti", "a", "--iss", "i", "--ttl", "1h"]), Ok(()));
        assert_eq!(check(&["revoke", "--iss", "i"]), Ok(()));
        assert_eq!(check(&["revoke", "--from", "-"]), Ok(()));
        assert!(check(&["revoke"]).is_err());
        assert!(check(&["revoke", "--jti", "a", "--sid", "b"]).is_err());
        assert!(check(&["revoke", "--jti", "a", "--from", "-"]).is_err());
        assert_eq!(check(&["check", "--jti", "a", "--sub", "b", "--iat", "3"]), Ok(()));
        assert!(check(&["check"]).is_err());
        assert!(check(&["check", "--token-file", "-", "--sub", "b"]).is_err());
        assert!(Cli::try_parse_from(["revocation-hub", "revoke", "--jti", "a", "--exp", "1", "--ttl", "1h"]).is_err());
        assert!(Cli::try_parse_from(["revocation-hub", "lift", "nonsense"]).is_err());
        assert!(Cli::try_parse_from(["revocation-hub", "parked", "drop"]).is_err());
        assert!(Cli::try_parse_from(["revocation-hub", "parked", "drop", "1", "--all"]).is_err());
        assert!(Cli::try_parse_from(["revocation-hub", "parked", "replay", "1", "2"]).is_ok());
        assert!(Cli::try_parse_from(["revocation-hub", "watch", "--since", "earliest"]).is_ok());
        assert!(Cli::try_parse_from(["revocation-hub", "watch", "--since", "yesterday"]).is_err());
    }

    #[test]
    fn a_failed_check_is_never_an_answer() {
        assert_eq!(check_code(Ok(false)), 0);
        assert_eq!(check_code(Ok(true)), 1);
        assert_eq!(check_code(Err(anyhow::anyhow!("x"))), 69);
    }
}
