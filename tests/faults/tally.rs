//! What was tried and what was lost, for the table of `./scripts/faults`.

use std::io::Write as _;

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

/// Notes a fault, how often it was tried, how many acknowledged writes there were meanwhile, and how many of them were lost.
pub fn note(fault: &str, trials: usize, acknowledged: usize, losses: usize) {
    let Ok(path) = std::env::var("TEST_FAULT_TABLE") else { return };
    let mut file = std::fs::File::options().create(true).append(true).open(path).expect("the table can be written");
    // One write, so that tests beside each other do not mix their lines.
    file.write_all(format!("{fault}\t{trials}\t{acknowledged}\t{losses}\n").as_bytes()).expect("it can be written");
}
