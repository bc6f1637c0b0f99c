//! What the hub's process takes in memory, and by how much that grows.

use crate::bench::http::Client;
use crate::bench::post;
use crate::bench::progress::Progress;
use crate::bench::server::Server;
use crate::bench::stop::Stop;
use crate::bench::streams::Pool;
use crate::bench::table::{Figure, Row};
use std::time::Duration;

const SECTION: &str = "memory";
/// For work that goes on behind an answer, and for the hub to give memory back, which it does every `prune_interval` (10 s).
const REST: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 12_000 });

/// A reading, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    bytes: Option<u64>,
    how: &'static str,
}

impl Resident {
    /// The proportional size of our child; of another hub what its metrics say.
    pub fn of(server: &Server) -> Self {
        match server.pid {
            Some(pid) => {
                let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
                Self { bytes: pss(&text), how: "PSS" }
            }
            None => {
                let answer = Client::new(&server.target).get("/metrics", &[]);
                let bytes = answer.ok().and_then(|a| metric(&String::from_utf8_lossy(&a.body)));
                Self { bytes, how: "process_resident_memory_bytes" }
            }
        }
    }

    /// The size, if it could be read.
    pub fn bytes(self) -> Option<u64> {
        self.bytes
    }

    fn per(before: Self, after: Self, count: u64) -> Option<f64> {
        Some((after.bytes? as f64 - before.bytes? as f64) / count as f64).filter(|_| count > 0)
    }
}

/// A reading after everything has come to rest.
pub fn rested(server: &Server, stop: &Stop) -> anyhow::Result<Resident> {
    post::settle(&server.target, stop)?;
    std::thread::sleep(REST);
    stop.check()?;
    Ok(Resident::of(server))
}

pub fn per_revocation(before: Resident, after: Resident, count: u64) -> Row {
    let (load, name) = (format!("{count} live revocations"), "per revocation");
    if count == 0 {
        return Row::missing(SECTION, load, name, "the hub had as many already; --entries must be more");
    }
    row(load, name, before, after, count)
}

pub fn per_stream(
    server: &Server,
    streams: usize,
    sockets: u64,
    stop: &Stop,
    progress: Progress,
) -> anyhow::Result<Row> {
    let load = format!("{streams} idle streams");
    if streams as u64 + 256 > sockets {
        let why = format!("needs {} file descriptors, the limit is {sockets}", streams + 256);
        return Ok(Row::missing(SECTION, load, "per stream", &why));
    }
    progress.say(format!("memory: {load}"));
    let before = rested(server, stop)?;
    let pool = Pool::open(&server.target, streams, 0, stop)?;
    std::thread::sleep(REST);
    let after = Resident::of(server);
    let closed = pool.board.closed();
    let row = row(load, "per stream", before, after, streams as u64);
    Ok(if closed > 0 { row.remark(format!("{closed} streams were ended by the hub")) } else { row })
}

fn row(load: String, name: &'static str, before: Resident, after: Resident, count: u64) -> Row {
    let mib = |r: Resident| r.bytes.map(|b| b as f64 / 1048576.0);
    let per = Resident::per(before, after, count);
    let row = Row::new(SECTION, load, Figure::new(name, per, "bytes")).more("before", mib(before), "MiB").more(
        "after",
        mib(after),
        "MiB",
    );
    row.remark(if per.is_some() { before.how.to_owned() } else { format!("{} cannot be read", before.how) })
}

/// The most that our child ever had resident, in bytes (VmHWM, proc(5)).
pub fn peak(server: &Server) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.pid?)).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// `Pss` of a smaps_rollup, in bytes.
fn pss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn metric(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|l| l.strip_prefix("process_resident_memory_bytes "))?;
    let value: f64 = value.split(' ').next()?.parse().ok()?;
    (value > 0.0).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_what_the_system_and_the_metrics_say() {
        assert_eq!(pss("555 [rollup]\nRss:   99 kB\nPss:     12 kB\nPss_Dirty:  3 kB\n"), Some(12 * 1024));
        assert_eq!(pss(""), None);
        let text = "# HELP process_resident_memory_bytes x\nprocess_resident_memory_bytes 1.5e+06\n";
        assert_eq!((metric(text), metric("other 1\n")), (Some(1_500_000), None));
    }

    #[test]
    fn what_cannot_be_read_is_no_figure() {
        let (some, none) = (Resident { bytes: Some(1000), how: "PSS" }, Resident { bytes: None, how: "PSS" });
        assert_eq!(Resident::per(some, Resident { bytes: Some(3000), how: "PSS" }, 10), Some(200.0));
        let row = per_revocation(some, none, 10);
        assert_eq!((row.result.value, row.remark.as_str()), (None, "PSS cannot be read"));
    }
}
