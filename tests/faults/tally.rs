//! What was tried and what was lost, for the table of `./scripts/faults`.
//!
//! A row is written when a trial ends, and by nobody else: a trial that panics has failed and is counted so, and a fault
//! that is expected and was never tried stands in the table as just that.

use std::io::Write as _;

/// The faults that the table has to have. Those that a history draws at random are counted as they come.
const FAULTS: &[&str] = &[
    "Postgres refuses connections",
    "connections are reset",
    "Postgres accepts and says nothing",
    "the same, with a deep queue of writes",
    "packets are delayed",
    "half-open connections",
    "half-open LISTEN session",
    "a hub vanishes with the log in its hand",
    "read-only",
    "out of connections",
    "kill -9 of Postgres",
    "SIGSTOP of Postgres",
    "kill -9 of one of two hubs",
    "SIGSTOP of one of two hubs",
    "kill -9 of the hub on SQLite",
    "failover to a standby that lost writes",
    "disk full (Postgres)",
    "disk full (SQLite)",
    "RabbitMQ is killed under a source and an outlet",
    "Postgres is away while a broker delivers",
    "rolling restart of two hubs under load",
    "SIGTERM while a commit is in flight",
    "a second signal while a commit is in flight",
    "clocks of two hubs are two hours off",
    "pg_restore of an older backup, with hubs running",
    "volume put back, with hubs running",
    "an empty database behind the name",
    "a foreign database behind the name",
    "overload: more than there is room for, and readers that stand still",
    "histories of two hubs on Postgres",
    "histories of one hub on SQLite",
];

/// How often a single fault is tried.
pub fn trials() -> usize {
    number("TEST_FAULT_TRIALS", 1)
}

/// The number in an environment variable.
pub fn number<T: std::str::FromStr>(name: &str, otherwise: T) -> T
where
    T::Err: std::fmt::Debug,
{
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// One trial of a fault. It has failed unless [`Trial::passed`] or [`Trial::counted`] says otherwise.
#[must_use]
pub struct Trial {
    fault: String,
    failed: bool,
    acknowledged: usize,
    losses: usize,
}

impl Trial {
    /// Begins; the fault is one that the table expects.
    #[track_caller]
    pub fn of(fault: &str) -> Self {
        assert!(FAULTS.contains(&fault), "{fault:?} is not in the list of tally.rs");
        Self { fault: fault.to_owned(), failed: true, acknowledged: 0, losses: 0 }
    }

    /// It went to its end, with as many acknowledged writes, all of which were looked for and found.
    pub fn passed(self, acknowledged: usize) {
        self.counted(acknowledged, 0);
    }

    /// It went to its end, and this is what was lost.
    pub fn counted(mut self, acknowledged: usize, losses: usize) {
        (self.failed, self.acknowledged, self.losses) = (false, acknowledged, losses);
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        row(&self.fault, 1, self.failed.into(), self.acknowledged, self.losses);
    }
}

/// A fault that a history has drawn so many times, and what was lost in that history.
pub fn drawn(fault: &str, trials: usize, losses: usize) {
    row(fault, trials, 0, 0, losses);
}

fn row(fault: &str, trials: usize, failed: usize, acknowledged: usize, losses: usize) {
    write(&format!("{fault}\t{trials}\t{failed}\t{acknowledged}\t{losses}\n"));
}

fn write(line: &str) {
    let Ok(path) = std::env::var("TEST_FAULT_TABLE") else { return };
    let file = std::fs::File::options().create(true).append(true).open(path);
    // One write, so that tests beside each other do not mix their lines. A table that cannot be written lacks the row, and
    // then says so.
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("the table of faults lacks {line:?}: {error}");
    }
}

/// Says which rows there have to be.
#[test]
fn the_table_expects_every_fault() {
    for fault in FAULTS {
        row(fault, 0, 0, 0, 0);
    }
    let unique: std::collections::BTreeSet<_> = FAULTS.iter().collect();
    assert_eq!(unique.len(), FAULTS.len());
}
