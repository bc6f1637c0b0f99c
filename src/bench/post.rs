//! Writing revocations: single objects, NDJSON batches, and a fill of many.

use crate::bench::http::{Client, Target};
use crate::bench::marker::Run;
use crate::bench::progress::Progress;
use crate::bench::stop::Stop;
use anyhow::{Context, bail};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub const PATH: &str = "/v1/revocations";
const VISIBLE_LIMIT: Duration = Duration::from_secs(60);

/// An object to post. Expiries are spread over an hour, as those of real tokens are, and outlive the bench.
fn object(out: &mut String, name: &str, number: u64) {
    let _ = write!(out, "{{\"jti\":\"{name}\",\"ttl\":{}}}", 3600 + number % 3600);
}

/// Posts one revocation and waits until it is durable.
pub fn single(client: &mut Client, name: &str, number: u64) -> anyhow::Result<crate::bench::http::Answer> {
    let mut body = String::with_capacity(64);
    object(&mut body, name, number);
    client.post(PATH, "application/json", &body)?.success()
}

/// An NDJSON body of `numbers`.
pub fn batch(numbers: std::ops::Range<u64>, name: impl Fn(u64) -> String) -> String {
    let mut body = String::with_capacity(64 * usize::try_from(numbers.end - numbers.start).unwrap_or(0));
    for n in numbers {
        object(&mut body, &name(n), n);
        body.push('\n');
    }
    body
}

pub fn ndjson(client: &mut Client, body: &str) -> anyhow::Result<()> {
    client.post(PATH, "application/x-ndjson", body)?.success().map(|_| ())
}

/// Posts `count` revocations as fast as two connections with batches of 10,000 can.
pub fn fill(
    target: &Target,
    stop: &Stop,
    progress: Progress,
    count: u64,
    name: impl Fn(u64) -> String + Sync,
) -> anyhow::Result<Duration> {
    const BATCH: u64 = 10_000;
    let (next, done, begin) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
    let worker = || -> anyhow::Result<()> {
        let mut client = Client::new(target);
        loop {
            let from = next.fetch_add(BATCH, Relaxed);
            if from >= count {
                return Ok(());
            }
            stop.check()?;
            let to = (from + BATCH).min(count);
            ndjson(&mut client, &batch(from..to, &name))?;
            let sum = done.fetch_add(to - from, Relaxed) + to - from;
            progress.say(format!("posting {count} revocations: {sum}"));
        }
    };
    std::thread::scope(|scope| {
        let both = [scope.spawn(worker), scope.spawn(worker)];
        both.into_iter().try_for_each(|t| t.join().map_err(|_| anyhow::anyhow!("a publisher panicked"))?)
    })?;
    Ok(begin.elapsed())
}

/// Posts one more revocation and waits until the hub shows it: then everything posted before is shown too, because
/// the log is read in order. Returns its cursor.
pub fn settle(target: &Target, stop: &Stop) -> anyhow::Result<String> {
    let mut client = Client::new(target);
    let answer = single(&mut client, &Run::new().name(0), 0)?;
    let json = answer.json()?;
    let id = json["id"].as_str().context("the hub names no id")?;
    let cursor = json["cursor"].as_str().context("the hub names no cursor")?;
    let deadline = Instant::now() + VISIBLE_LIMIT;
    while client.get(&format!("{PATH}/{id}"), &[])?.status != 200 {
        stop.check()?;
        if Instant::now() > deadline {
            bail!("an acknowledged revocation is not shown after {} s", VISIBLE_LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(cursor.to_owned())
}

/// How many revocations are live: the lines of the NDJSON snapshot.
pub fn live(target: &Target) -> anyhow::Result<u64> {
    let mut lines = 0;
    let request = target.head("GET", PATH, &[("Accept", "application/x-ndjson")], None);
    let count = |piece: &[u8]| lines += piece.iter().filter(|b| **b == b'\n').count() as u64;
    Client::new(target).exchange(request.as_bytes(), count)?.success()?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_lines_of_objects() {
        let run = Run::new();
        let body = batch(5..8, |n| run.name(n));
        let lines: Vec<serde_json::Value> = body.lines().map(|l| serde_json::from_str(l).expect("an object")).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["jti"].as_str(), Some(run.name(5).as_str()));
        assert_eq!(lines[0]["ttl"], 3605);
    }
}
