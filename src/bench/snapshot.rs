//! Reading everything: `GET /v1/revocations`, plain and compressed, by one client and by ten at once.
//!
//! "Cold" is the first read after a change: what the hub does once for all readers. "Warm" are the reads after it.

use crate::bench::http::{Answer, Client, Target};
use crate::bench::post;
use crate::bench::progress::Progress;
use crate::bench::stats::median;
use crate::bench::stop::Stop;
use crate::bench::table::{Figure, Row};
use std::sync::Barrier;

const SECTION: &str = "snapshot";
const WARM: usize = 3;

pub fn run(target: &Target, entries: u64, stop: &Stop, progress: Progress, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    for encoding in ["identity", "gzip", "zstd"] {
        for clients in [1, 10] {
            let at_once = if clients == 1 { "1 client".into() } else { format!("{clients} clients at once") };
            let load = format!("{entries} entries, {encoding}, {at_once}");
            progress.say(format!("snapshot: {load}"));
            // A change, so that no copy of an earlier cell can be handed out again.
            post::settle(target, stop)?;
            let cold = read(target, encoding, clients)?;
            rows.push(cold.row(format!("{load}, cold")));
            let mut warm = Vec::new();
            for _ in 0..WARM {
                stop.check()?;
                warm.push(read(target, encoding, clients)?);
            }
            rows.push(Reading::median(&warm).row(format!("{load}, warm")));
        }
    }
    Ok(())
}

/// One round: the slowest of the clients that read at once.
#[derive(Clone, Debug)]
struct Reading {
    first_byte_ms: f64,
    total_ms: f64,
    bytes: u64,
    remark: String,
}

impl Reading {
    fn of(answers: &[Answer], asked: &str) -> Self {
        let slowest =
            |f: fn(&Answer) -> std::time::Duration| answers.iter().map(f).max().unwrap_or_default().as_secs_f64() * 1e3;
        let got = answers.first().and_then(|a| a.encoding.as_deref()).unwrap_or("identity");
        let remark = if got == asked { String::new() } else { format!("asked for {asked}, got {got}") };
        Self {
            first_byte_ms: slowest(|a| a.first_byte),
            total_ms: slowest(|a| a.total),
            bytes: answers.first().map_or(0, |a| a.bytes),
            remark,
        }
    }

    fn median(all: &[Self]) -> Self {
        let of = |f: fn(&Self) -> f64| median(&mut all.iter().map(f).collect::<Vec<_>>()).unwrap_or(f64::NAN);
        Self {
            first_byte_ms: of(|r| r.first_byte_ms),
            total_ms: of(|r| r.total_ms),
            bytes: all.last().map_or(0, |r| r.bytes),
            remark: all.last().map_or_else(String::new, |r| r.remark.clone()),
        }
    }

    fn row(&self, load: String) -> Row {
        Row::new(SECTION, load, Figure::new("total", self.total_ms, "ms"))
            .more("first byte", self.first_byte_ms, "ms")
            .more("size", self.bytes as f64, "bytes")
            .remark(&self.remark)
    }
}

fn read(target: &Target, encoding: &str, clients: usize) -> anyhow::Result<Reading> {
    let gate = Barrier::new(clients);
    let one = || {
        let mut client = Client::new(target);
        let connected = client.connect();
        gate.wait();
        connected?;
        client.get(post::PATH, &[("Accept", "application/json"), ("Accept-Encoding", encoding)])?.success()
    };
    let answers = std::thread::scope(|scope| {
        let all: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
        all.into_iter()
            .map(|t| t.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?)
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    Ok(Reading::of(&answers, encoding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn answer(ms: u64) -> Answer {
        Answer {
            status: 200,
            encoding: Some("gzip".into()),
            body: Vec::new(),
            bytes: 5,
            first_byte: Duration::from_millis(ms / 2),
            total: Duration::from_millis(ms),
        }
    }

    #[test]
    fn the_slowest_client_and_the_middle_round_count() {
        let rounds: Vec<Reading> = [10, 30, 20].map(|ms| Reading::of(&[answer(ms), answer(2 * ms)], "gzip")).to_vec();
        let r = Reading::median(&rounds);
        assert_eq!((r.total_ms, r.first_byte_ms, r.bytes, r.remark.as_str()), (40.0, 20.0, 5, ""));
    }

    #[test]
    fn another_encoding_than_asked_for_is_said() {
        assert_eq!(Reading::of(&[answer(1)], "zstd").remark, "asked for zstd, got gzip");
    }
}
