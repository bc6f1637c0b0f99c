//! `revocation-hub doctor`: looks at what a hub depends on and says what to do about it.

use std::time::{Duration, Instant};

use super::output::line;
use super::serve::Source;
use crate::clock::Clock;
use crate::config::Config;
use crate::store::Store;

/// What `doctor --help` says below the options.
pub const AFTER_HELP: &str = "\
Looks from this machine, with the settings of the hub, and changes nothing. Exit code 0: nothing is wrong; 1: something is; \
64: the configuration is not accepted.

Example:
  revocation-hub doctor --config /etc/revocation-hub.toml";

/// Open files that a hub with the default budgets may need.
const DESCRIPTORS: u64 = 4096;

/// Reads that the time of an answer is taken from; the shortest says most.
const READS: usize = 3;

/// What is told of one thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Good(String),
    /// What is wrong, and what to do.
    Bad(String, String),
}

/// Prints what it finds; says whether nothing is wrong.
pub async fn run(source: Source) -> anyhow::Result<bool> {
    let config = source.load()?;
    let mut findings = vec![Finding::Good("the configuration is accepted".to_owned())];
    match super::serve::store_to_look_at(&config).await {
        Ok(store) => {
            look_at_store(&*store, &config, &mut findings).await;
            store.close().await;
        }
        Err(error) => findings.push(away(&error.to_string())),
    }
    findings.push(descriptors(rlimit::Resource::NOFILE.get().map_or(0, |(_, hard)| hard)));
    let mut healthy = true;
    for finding in &findings {
        match finding {
            Finding::Good(what) => line(&format!("ok    {what}"))?,
            Finding::Bad(what, todo) => {
                healthy = false;
                line(&format!("wrong {what}\n      {todo}"))?;
            }
        }
    }
    Ok(healthy)
}

fn away(error: &str) -> Finding {
    Finding::Bad(
        error.to_owned(),
        "see that the database runs, that the address, the user and the password are right, and that this machine may connect"
            .to_owned(),
    )
}

async fn look_at_store(store: &dyn Store, config: &Config, findings: &mut Vec<Finding>) {
    // Of several answers the one that was shortest on its way says most about the clock.
    let mut best: Option<(Duration, Option<i64>, bool)> = None;
    for _ in 0..READS {
        let (began, own) = (Instant::now(), Clock::system());
        let asked = own.own_millis();
        match store.read_after(u64::MAX, 1).await {
            Ok(page) => {
                let took = began.elapsed();
                let offset = page.millis.map(|millis| own.follow(millis, asked, own.own_millis()));
                if best.is_none_or(|(shortest, ..)| took < shortest) {
                    best = Some((took, offset, page.moved));
                }
            }
            Err(error) => return findings.push(away(&error.to_string())),
        }
    }
    let Some((took, offset, moved)) = best else { return };
    findings.push(Finding::Good(format!("{} answers in {:.1} ms", store.describe(), took.as_secs_f64() * 1000.0)));
    if moved {
        findings.push(Finding::Bad(
            "the log is on another server, timeline or database than its epoch was made on".to_owned(),
            "a hub renews the epoch as soon as it runs on it; every client then loads the list once".to_owned(),
        ));
    }
    if let Some(offset) = offset {
        findings.push(clock(offset, config.store.max_clock_offset));
    }
}

fn clock(offset: i64, limit: Duration) -> Finding {
    if u128::from(offset.unsigned_abs()) <= limit.as_millis() {
        return Finding::Good(format!("this machine's clock is {offset} ms behind the database's"));
    }
    Finding::Bad(
        format!("this machine's clock is {offset} ms behind the database's (store.max_clock_offset is {limit:?})"),
        "the hub goes by the database's clock and keeps its promises, but logs and TLS go by this one: see to NTP on both"
            .to_owned(),
    )
}

fn descriptors(limit: u64) -> Finding {
    if limit >= DESCRIPTORS {
        return Finding::Good(format!("the process may open {limit} files"));
    }
    Finding::Bad(
        format!("the process may open {limit} files; each stream takes one"),
        "raise it: LimitNOFILE= in the systemd unit, `ulimit -Hn`, or the container runtime's setting".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let limit = Duration::from_secs(2);
        for good in [0, 2000, -2000] {
            assert!(matches!(clock(good, limit), Finding::Good(_)), "{good}");
        }
        for wrong in [2001, -2001, i64::MIN] {
            assert!(matches!(clock(wrong, limit), Finding::Bad(..)), "{wrong}");
        }
        assert!(matches!(descriptors(1024), Finding::Bad(..)));
        assert!(matches!(descriptors(1 << 20), Finding::Good(_)));
    }
}
