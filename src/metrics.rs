//! Metrics. The doc comment of each is its help text; the second sentence says what a rise means. `docs/metrics.md` is made
//! from them by a test here.

use std::sync::Arc;

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ident($name:literal $(, $argument:expr)?);)+) => {
        /// Everything the hub counts.
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)+
        }

        /// What there is, in the order of the reference.
        pub const DEFINITIONS: &[Definition] = &[
            $(Definition {
                name: concat!("revocation_hub_", $name),
                kind: stringify!($kind),
                labels: metrics!(@labels $kind $(, $argument)?),
                help: concat!($($help),+),
            },)+
        ];

        impl Metrics {
            /// All metrics at zero, in a registry of their own.
            pub fn new() -> Arc<Self> {
                let registry = Registry::new();
                $(
                    let help = concat!($($help),+).trim();
                    let $field = metrics!(@make $kind, concat!("revocation_hub_", $name), help $(, $argument)?);
                    registry.register(Box::new($field.clone())).expect("names are unique");
                )+
                Arc::new(Self { registry, $($field),+ })
            }
        }
    };
    (@labels IntCounterVec, $labels:expr) => { &$labels };
    (@labels IntGaugeVec, $labels:expr) => { &$labels };
    (@labels $kind:ident $(, $argument:expr)?) => { &[] };
    (@make Gauge, $name:expr, $help:expr) => { Gauge::new($name, $help).expect("a valid name") };
    (@make IntCounter, $name:expr, $help:expr) => { IntCounter::new($name, $help).expect("a valid name") };
    (@make IntGauge, $name:expr, $help:expr) => { IntGauge::new($name, $help).expect("a valid name") };
    (@make IntCounterVec, $name:expr, $help:expr, $labels:expr) => {
        IntCounterVec::new(Opts::new($name, $help), &$labels).expect("a valid name")
    };
    (@make IntGaugeVec, $name:expr, $help:expr, $labels:expr) => {
        IntGaugeVec::new(Opts::new($name, $help), &$labels).expect("a valid name")
    };
    (@make Histogram, $name:expr, $help:expr, $buckets:expr) => {
        Histogram::with_opts(HistogramOpts::new($name, $help).buckets($buckets.to_vec())).expect("a valid name")
    };
}

/// A metric as the reference has it.
pub struct Definition {
    /// As Prometheus sees it.
    pub name: &'static str,
    /// The type of the field.
    pub kind: &'static str,
    /// The labels.
    pub labels: &'static [&'static str],
    /// What it counts, and what a rise means.
    pub help: &'static str,
}

const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const SIZES: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0];

metrics! {
    /// Revocations answered, by source (of callers who sign in with a token: its issuer) and outcome (revoked, unchanged, expired). A rise of unchanged means that a source repeats itself.
    intake_revocations: IntCounterVec("intake_revocations_total", ["source", "outcome"]);
    /// Items refused, by reason. A rise means that a source sends what the hub cannot accept; its tokens stay valid.
    intake_refused: IntCounterVec("intake_refused_total", ["reason"]);
    /// Revocations taken back, by source (of callers who sign in with a token: its issuer). A rise means that somebody makes tokens valid again.
    lifted: IntCounterVec("lifted_total", ["source"]);
    /// Seconds of one store transaction of the intake. A rise means a slow disk, a busy database or a long queue for the log.
    commit_seconds: Histogram("commit_seconds", SECONDS);
    /// Seconds from a request's arrival at the intake to its commit, the wait for other commits included. A rise means that gateways learn later: look at commit_seconds, and at how much comes in at once.
    received_to_committed: Histogram("received_to_committed_seconds", SECONDS);
    /// Seconds from a commit (of another replica: from when this one has read it) to when the socket of a stream that follows live has taken the events. A rise means a busy replica, or gateways that read slowly.
    committed_to_written: Histogram("committed_to_written_seconds", SECONDS);
    /// Changes in one store transaction. A rise means more load; commits are shared by what waits.
    commit_size: Histogram("commit_size", SIZES);
    /// Store transactions that did not succeed. A rise means that sources get 503 and must repeat.
    commit_failed: IntCounter("commit_failed_total");
    /// Reasons for which the feed read the store (commit, notify, cursor, timer, bookmark). Only timer rising while others write means that notifications do not arrive.
    feed_wakeups: IntCounterVec("feed_wakeups_total", ["reason"]);
    /// Rows the feed took into the ledger. A rise means revocations arrive.
    feed_rows: IntCounter("feed_rows_total");
    /// Committed rows that the feed could not keep in memory, because it was too far behind. A rise means that they are in the store alone: were it to lose them before the feed has read them, nobody could put them back.
    feed_unkept: IntCounter("feed_unkept_rows_total");
    /// Reads of the store that failed. A rise means that gateways learn nothing new.
    feed_failures: IntCounter("feed_failures_total");
    /// Times the log became another one while running. A rise means a restored backup or a failover that lost rows; every client reloads.
    feed_resets: IntCounter("feed_resets_total");
    /// Times this replica, before any other, gave the log a new epoch, by what showed that it may have lost rows (moved: another server, timeline or table; shrunk: its head went back; ahead: a client was ahead of it). A rise means a restored backup or a failover.
    epoch_renewals: IntCounterVec("epoch_renewals_total", ["reason"]);
    /// Acknowledged revocations that the store had lost and this replica put back from its memory. A rise means that a database came back without its last rows: find out why.
    put_back: IntCounter("revocations_put_back_total");
    /// Seconds that the database's clock is ahead of this machine's. A rise, or a fall below zero, means that a clock is wrong; the database's is the one that counts.
    clock_offset: Gauge("clock_offset_seconds");
    /// The setting store.max_clock_offset, for alerts. A rise means that somebody has changed it.
    max_clock_offset: Gauge("clock_offset_limit_seconds");
    /// Entries removed from memory because they were over. A stop while revocations expire means that memory grows.
    ledger_swept: IntCounter("ledger_swept_total");
    /// Rows deleted from the store because they were over. A stop while revocations expire means that the disk fills.
    pruned: IntCounter("pruned_total");
    /// Pruning transactions that failed. A rise means that the disk fills.
    prune_failed: IntCounter("prune_failed_total");
    /// When pruning last succeeded, Unix seconds; before that, when the hub started. No rise for minutes means that pruning stands still.
    prune_last_success: IntGauge("prune_last_success_timestamp_seconds");
    /// Records of the audit deleted because they were older than audit.retention. A stop while requests come means that the disk fills.
    audit_pruned: IntCounter("audit_pruned_total");
    /// Transactions that failed to delete old records of the audit. A rise means that records are kept longer than they should be.
    audit_prune_failed: IntCounter("audit_prune_failed_total");
    /// When deleting old records of the audit last succeeded, Unix seconds; before that, when the hub started. No rise for minutes means that it stands still.
    audit_prune_last_success: IntGauge("audit_prune_last_success_timestamp_seconds");
    /// Live revocations by kind. A rise means more tokens revoked than expire.
    live_revocations: IntGaugeVec("live_revocations", ["kind"]);
    /// Tombstones of lifted revocations. A rise means lifts of what has not expired yet.
    tombstones: IntGauge("tombstones");
    /// The newest position of the log in memory. No rise while the other replicas' rise means that this one is behind.
    head: IntGauge("head");
    /// Seconds since the last successful read of the store began; -1 before the first. A rise means that this replica may be behind.
    feed_age: Gauge("feed_age_seconds");
    /// The setting feed.max_lag, for alerts. A rise means that somebody has changed it.
    feed_max_lag: Gauge("feed_max_lag_seconds");
    /// Bookmarks that the sockets of streams have taken. No rise while streams are open means that gateways cannot know whether they are current, and those that are strict refuse all tokens.
    bookmarks: IntCounter("bookmarks_total");
    /// Open event streams. A fall means that gateways were cut off.
    streams: IntGauge("streams");
    /// Event streams by how they ended (client, age, credential, stalled, first_load, shutdown). A rise of client means that somebody on the way cuts them, of credential that tokens live shorter than streams, of stalled that gateways stop reading, of first_load that a line is too slow for all of it.
    streams_ended: IntCounterVec("streams_ended_total", ["reason"]);
    /// First loads (long lists and long replays) in progress. A rise towards limits.max_first_loads means that many gateways start at once.
    first_loads: IntGauge("first_loads");
    /// What was refused because there was no room, by budget (requests, large_bodies, streams, first_loads; with client_ in front when it was the share of one client). A rise means that gateways wait for their turn, or that a limit is too low.
    admissions_refused: IntCounterVec("admissions_refused_total", ["reason"]);
    /// 1 while the hub is stopping and event streams leave one after the other, else 0. A 1 that stays means that something does not end.
    draining: IntGauge("draining");
    /// Bytes handed to event streams. A rise means more events or more streams.
    stream_bytes: IntCounter("stream_bytes_total");
    /// Requests by route, method and status. A rise of 401 or 403 means wrong credentials, of 503 that the hub does not know.
    requests: IntCounterVec("http_requests_total", ["route", "method", "status"]);
    /// 1 while a source or outlet is connected or serving, else 0. A fall means that it does not deliver.
    link_up: IntGaugeVec("link_up", ["direction", "name"]);
    /// When a source or outlet last delivered something, Unix seconds; before that, when the hub started. No rise while others' rise means that it is deaf or dumb.
    link_last_success: IntGaugeVec("link_last_success_timestamp_seconds", ["direction", "name"]);
    /// Messages of sources and outlets by outcome (committed, confirmed, own, except_sources, or why they were set aside). A rise of anything else than those four means that somebody sends what cannot be used.
    link_messages: IntCounterVec("link_messages_total", ["direction", "name", "outcome"]);
    /// Failed sessions and requests of sources and outlets. A rise means that the other side, or the way to it, is not well.
    link_failures: IntCounterVec("link_failures_total", ["direction", "name"]);
    /// Positions of the log that an outlet is behind. A rise means that the other side does not take what is sent.
    outlet_lag: IntGaugeVec("outlet_lag_positions", ["name"]);
    /// Rules (subject, client) that an outlet sent in a WSO2 form. A rise means that Microgateway, Choreo Connect and API Manager gateways before 4.3, which cannot judge rules, go on accepting tokens that these were to stop.
    outlet_rules: IntCounterVec("outlet_rules_total", ["name"]);
    /// Messages that are parked because they could not be read or were refused; every replica shows all of them. A rise means that revocations may be missing: see `revocation-hub parked list`.
    parked: IntGauge("parked_messages");
    /// Parked messages that went because there were too many. A rise means that bytes are lost which nobody has looked at.
    parked_dropped: IntCounter("parked_dropped_total");
    /// Bodies of POST /v1/revocations by form (native, ndjson, cloudevent, cloudevent_binary, cloudevent_batch, none of them) and outcome (committed, or the code of the problem). A rise of anything else than committed means that a sender's revocations are not in force.
    publishes: IntCounterVec("publishes_total", ["form", "outcome"]);
    /// Signed webhooks by style and outcome (accepted, repeated, refused, failed, or why the signature counts for nothing: wrong_signature, stale_signature, unreadable_signature, two_credentials, unreadable). A rise of wrong_signature means another secret on one side, or somebody who tries; of stale_signature a wrong clock, or somebody who sends again what he has seen.
    webhooks: IntCounterVec("webhooks_total", ["style", "outcome"]);
    /// Questions of CloudEvents senders whether they may deliver, by outcome (given, withheld). A rise of withheld means that an origin is missing in cloudevents_origins, and that its events do not come.
    consents: IntCounterVec("cloudevents_consents_total", ["outcome"]);
    /// JWTs checked against the issuers by outcome (good, or why not). A rise of keys_unavailable means that an issuer is away, of unknown_key or wrong_signature that it has new keys or that somebody tries.
    tokens_checked: IntCounterVec("jwt_checks_total", ["outcome"]);
    /// Reads of an issuer's key set by outcome (read, failed). A rise of failed means that tokens signed with a new key cannot be checked.
    key_sets: IntCounterVec("key_sets_total", ["issuer", "outcome"]);
    /// TLS handshakes that did not succeed, by reason: not_tls (plain HTTP), timeout, closed (the client left), nothing_in_common (versions, ciphers, protocols), certificate_refused (the client does not trust ours), no_client_certificate, client_certificate_expired, client_certificate_refused, invalid. A rise of certificate_refused after a renewal means that gateways do not know the new authority.
    tls_handshakes_failed: IntCounterVec("tls_handshakes_failed_total", ["reason"]);
    /// When the first certificate of a file expires, Unix seconds, by what it is for: server (tls.certificate_file), client_ca (tls.client_ca_file). No rise weeks before the time has come means that nobody renews it.
    tls_not_after: IntGaugeVec("tls_certificate_not_after_timestamp_seconds", ["certificate"]);
    /// Times certificates or clients were read again, by outcome (applied, failed). A rise of failed means that what is on disk cannot be used; the log says why.
    reloads: IntCounterVec("reloads_total", ["outcome"]);
    /// 1 while certificates or clients on disk cannot be used and the hub goes on with what it had, else 0. A 1 means that the next start fails, or that a certificate is not renewed.
    reload_failing: IntGauge("reload_failing");
    /// Open connections. A rise towards the limit means that new ones will be closed.
    connections: IntGauge("connections");
    /// Connections closed at once because of the limit. A rise means that gateways cannot connect.
    connections_refused: IntCounter("connections_refused_total");
    /// Connections cut by reason: stalled (the reader took nothing for limits.stall_timeout), first_load (a first load was not through after limits.first_load_timeout), stopping (still open after shutdown.grace). A rise of stalled means that gateways hang, or that something between swallows data, of first_load that a line is too slow or that somebody dribbles.
    connections_cut: IntCounterVec("connections_cut_total", ["reason"]);
    /// Connections closed without a byte on the WSO2 paths, because the hub did not know yet or had no room. A rise after the start means that the store is away or the hub overloaded.
    wso2_hung_up: IntCounter("wso2_hung_up_total");
    /// Live revocations that readers of a kind cannot judge (array, legacy, object, etcd), once such a reader has come. A rise means tokens that are revoked here and accepted there.
    unjudged: IntGaugeVec("unjudged_revocations", ["reader"]);
    /// Resident memory of the process in bytes. A rise beyond what the live revocations explain means a leak.
    resident_memory: IntGauge("process_resident_memory_bytes");
    /// Open file descriptors. A rise towards the limit of the process means that connections will be refused.
    open_fds: IntGauge("process_open_fds");
}

impl Metrics {
    /// All metrics in the Prometheus text format 0.0.4. The ledger's are as they were set last.
    pub fn encode(&self) -> Vec<u8> {
        if let Some(resident) = resident_memory() {
            self.resident_memory.set(resident);
        }
        if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
            self.open_fds.set(fds.count() as i64);
        }
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out).expect("writing into memory cannot fail");
        out
    }
}

/// The second number of Linux' statm, in pages of 4 KiB (proc(5)).
fn resident_memory() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<i64>().ok()? * 4096)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    /// What it counts, and what a rise means.
    fn sentences(help: &'static str) -> (&'static str, &'static str) {
        help.trim().split_once(". ").unwrap_or_else(|| panic!("one sentence only: {help}"))
    }

    /// The unit, by the suffix that Prometheus' conventions ask for.
    fn unit(definition: &Definition) -> &'static str {
        let name = definition.name;
        let ends = |suffix: &str| name.ends_with(suffix);
        if ends("_timestamp_seconds") {
            "seconds since 1970"
        } else if ends("_seconds") {
            "seconds"
        } else if ends("_bytes") || ends("_bytes_total") {
            "bytes"
        } else if ends("_positions") || ends("_hub_head") {
            "positions"
        } else {
            "count"
        }
    }

    fn kind(definition: &Definition) -> &'static str {
        match definition.kind {
            "IntCounter" | "IntCounterVec" => "counter",
            "Gauge" | "IntGauge" | "IntGaugeVec" => "gauge",
            "Histogram" => "histogram",
            other => panic!("{other}"),
        }
    }

    fn reference() -> String {
        let mut out = String::from(
            "<!-- Made from src/metrics.rs: WRITE_REFERENCE=1 cargo test --lib metrics -->\n\n# Metrics\n\n\
            `/metrics` has these, in the text format of Prometheus. It asks for no credentials, and no label has a value that \
            somebody outside could choose. Alerts on them are in \
            [rules/revocation-hub.yaml](../helm/revocation-hub/rules/revocation-hub.yaml), a board in \
            [dashboards/revocation-hub.json](../helm/revocation-hub/dashboards/revocation-hub.json).\n\n\
            | metric | type, unit, labels | what it is | what a rise means |\n|---|---|---|---|\n",
        );
        for definition in DEFINITIONS {
            let (what, rise) = sentences(definition.help);
            let labels: Vec<String> = definition.labels.iter().map(|label| format!("`{label}`")).collect();
            let by = if labels.is_empty() { String::new() } else { format!("; {}", labels.join(", ")) };
            let (kind, unit) = (kind(definition), unit(definition));
            let cell = |text: &str| text.replace('|', "\\|");
            let (what, rise) = (cell(what), cell(rise));
            writeln!(out, "| `{}` | {kind}, {unit}{by} | {what} | {rise} |", definition.name).unwrap();
        }
        out
    }

    #[test]
    fn the_reference_is_what_the_definitions_say() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        if std::env::var_os("WRITE_REFERENCE").is_some() {
            std::fs::write(&path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == reference(), "docs/metrics.md is stale: WRITE_REFERENCE=1 cargo test --lib metrics");
    }

    #[test]
    fn each_says_what_a_rise_means_in_base_units() {
        for definition in DEFINITIONS {
            let (_, rise) = sentences(definition.help);
            assert!(rise.contains(" mean"), "{}: {rise}", definition.name);
            for word in ["millis", "micro", "_ms", "kilo", "mega", "minutes"] {
                assert!(!definition.name.contains(word), "{} is not in a base unit", definition.name);
            }
            assert_eq!(kind(definition) == "counter", definition.name.ends_with("_total"), "{}", definition.name);
        }
    }
}
