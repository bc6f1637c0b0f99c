//! What the machine lets a process have: open files, memory.

use std::fs::read_to_string;
use std::path::Path;

use super::Scene;
use super::report::Check;
use crate::config::Config;

/// Files that are open beside connections: listeners, the store's, those of the runtime, and what is read now and then.
const OTHER_FILES: u64 = 64;

/// What a hub takes at rest. See `docs/operations.md`, where the table of what it takes at the most is.
const PROGRAM: u64 = 64 << 20;
/// Bytes of a live revocation, and how many there shall be room for.
const REVOCATION: u64 = 270;
const REVOCATIONS: u64 = 1_000_000;
/// Bytes of a connection at rest.
const CONNECTION: u64 = 13 << 10;
/// Bytes of a first load.
const FIRST_LOAD: u64 = 6 << 20;
const FIRST_LOADS_PER: u64 = 5;
/// Bytes of a small request body.
const SMALL_BODY: u64 = 64 << 10;

/// Whether as many connections can be open as the configuration allows.
pub fn open_files(scene: &Scene, check: &mut Check) {
    match rlimit::Resource::NOFILE.get() {
        Ok((_, hard)) => judge_open_files(hard, &scene.config, check),
        Err(error) => check.warning(format!("cannot read the limit of open files: {error}"), "look at `ulimit -Hn`"),
    }
}

fn judge_open_files(limit: u64, config: &Config, check: &mut Check) {
    let links = config.sources.len() + config.outlets.len() + config.issuers.len();
    // Postgres: two writers and the connection that listens come on top. SQLite opens fewer.
    let store = u64::from(config.store.max_connections) + 3;
    let others = OTHER_FILES + store + links as u64 + (config.listen.len() + config.admin.listen.len()) as u64;
    let others = if config.admin.listen.is_empty() { others } else { others + config.admin.max_connections as u64 };
    let connections = config.limits.max_connections as u64;
    let needed = connections + others;
    if limit >= needed {
        return check
            .ok(format!("a process from here may open {limit}; the limits of the configuration need {needed}"));
    }
    check.warning(
        format!(
            "a process from here may open {limit}, which is enough for {} connections; limits.max_connections is {connections}",
            limit.saturating_sub(others)
        ),
        format!(
            "raise it to {needed} (LimitNOFILE= in the systemd unit, the container runtime's setting, `ulimit -Hn`), or lower \
             limits.max_connections, so that a hub which is full says so instead of failing to accept"
        ),
    );
}

/// Whether what a hub may need at the most fits into what it may have.
pub fn memory(scene: &Scene, check: &mut Check) {
    let proc = Path::new("/proc");
    let cgroup =
        cgroup_limit(Path::new("/sys/fs/cgroup"), &read_to_string(proc.join("self/cgroup")).unwrap_or_default());
    let machine = read_to_string(proc.join("meminfo")).ok().and_then(|text| total(&text));
    let found = [cgroup.map(|limit| (limit, "the control group")), machine.map(|total| (total, "the machine"))];
    match found.into_iter().flatten().min() {
        Some((limit, whose)) => judge_memory(limit, whose, &scene.config, check),
        None => check.ok("neither a control group nor /proc/meminfo to look at"),
    }
}

fn judge_memory(limit: u64, whose: &str, config: &Config, check: &mut Check) {
    let limits = &config.limits;
    let quiet = PROGRAM
        + REVOCATION * REVOCATIONS
        + CONNECTION * limits.max_connections as u64
        + FIRST_LOAD * limits.max_first_loads as u64 / FIRST_LOADS_PER;
    let large = (limits.max_large_bodies as u64).saturating_mul(limits.max_body_bytes as u64);
    let bodies = large.saturating_add(SMALL_BODY * limits.max_requests as u64);
    let most = quiet.saturating_add(bodies);
    let mib = |bytes: u64| bytes >> 20;
    let needs = format!(
        "with these limits, a million revocations and every budget in use a hub takes {} MiB, {} of them for request bodies",
        mib(most),
        mib(bodies)
    );
    if limit >= most {
        return check.ok(format!("{whose} has {} MiB; {needs}", mib(limit)));
    }
    check.warning(
        format!("{whose} has {} MiB; {needs}", mib(limit)),
        "give it more, or lower limits.max_large_bodies, max_body_bytes or max_connections (docs/operations.md), or the \
         kernel ends the hub at the worst moment",
    );
}

/// The smallest limit of the control groups that a process is in. `own` is its `/proc/self/cgroup` (cgroups(7)).
fn cgroup_limit(root: &Path, own: &str) -> Option<u64> {
    let mut limits = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            all if all.split(',').any(|c| c == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        // In a container the path may be the host's, which is not there; then the root is its own group.
        for folder in Path::new(path.trim_start_matches('/')).ancestors() {
            let text = read_to_string(base.join(folder).join(file)).unwrap_or_default();
            limits.extend(text.trim().parse::<u64>().ok());
        }
    }
    // Version 1 writes "none" as a number that no machine has.
    limits.into_iter().filter(|limit| *limit < 1 << 60).min()
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::super::report::Severity;
    use super::*;

    #[test]
    fn open_files_are_measured_by_the_configuration() {
        let mut config = Config::default();
        let severity = |limit, config: &Config| Check::of(|check| judge_open_files(limit, config, check))[0].severity;
        assert_eq!(severity(20_000, &config), Severity::Warning);
        assert_eq!(severity(65_536, &config), Severity::Ok);
        config.limits.max_connections = 100_000;
        assert_eq!(severity(65_536, &config), Severity::Warning);
        config.limits.max_connections = 500;
        assert_eq!(severity(1024, &config), Severity::Ok);
        assert_eq!(severity(0, &config), Severity::Warning);
    }

    #[test]
    fn memory_is_measured_by_the_configuration() {
        let mut config = Config::default();
        let severity = |mib: u64, config: &Config| Check::of(|c| judge_memory(mib << 20, "x", config, c))[0].severity;
        assert_eq!(severity(1024, &config), Severity::Warning, "the ceiling without bodies");
        assert_eq!(severity(2048, &config), Severity::Ok, "what the chart gives it");
        config.limits.max_body_bytes = 1 << 20;
        assert_eq!(severity(1024, &config), Severity::Ok);
        config.limits.max_body_bytes = usize::MAX;
        assert_eq!(severity(1 << 40, &config), Severity::Warning);
    }

    #[test]
    fn the_smallest_control_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(cgroup_limit(root.path(), "0::/a/b\n"), None);
        write("a/memory.max", "1000\n");
        write("a/b/memory.max", "max\n");
        assert_eq!(cgroup_limit(root.path(), "0::/a/b\n"), Some(1000));
        write("memory.max", "900\n");
        assert_eq!(cgroup_limit(root.path(), "0::/somewhere/of/the/host\n"), Some(900));
        write("memory/c/memory.limit_in_bytes", "500\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(cgroup_limit(root.path(), "9:memory:/c\n8:cpu,cpuacct:/c\n"), Some(500));
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(16 << 20));
    }
}
