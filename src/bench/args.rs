//! What one can ask of `revocation-hub bench`, and the plan that follows from it.

use std::path::PathBuf;
use std::time::Duration;

/// Measures a hub and prints one table.
///
/// Without `--url` it starts a hub of its own with an empty SQLite database in a temporary directory, and removes
/// both at the end. A hub given by `--url` (or a database by `--database-url`) is FILLED with revocations that stay
/// for up to two hours: never point it at one that gateways rely on.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// A running hub, http://host:port; https is not supported, measure beside the hub. Default: start one.
    #[arg(long)]
    pub url: Option<String>,

    /// User name for --url (Basic), with --password-file.
    #[arg(long, requires = "url", requires = "password_file")]
    pub user: Option<String>,

    /// File with the password of --user.
    #[arg(long, requires = "user")]
    pub password_file: Option<PathBuf>,

    /// File with a bearer token for --url.
    #[arg(long, requires = "url", conflicts_with = "user")]
    pub bearer_file: Option<PathBuf>,

    /// Database of the hub that is started, for instance postgres://… Default: SQLite, a new file per section.
    // No environment variable on purpose: a bench must not fill the database a shell happens to be configured for.
    #[arg(long, conflicts_with = "url")]
    pub database_url: Option<String>,

    /// Where to put the temporary directory. On a RAM disk a commit costs nothing, and the table says so.
    #[arg(long, conflicts_with = "url")]
    pub dir: Option<PathBuf>,

    /// Sections to run, comma-separated.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Section>,

    /// About a minute: fewer streams and entries, shorter cells.
    #[arg(long)]
    pub quick: bool,

    /// Print JSON instead of Markdown.
    #[arg(long)]
    pub json: bool,

    /// Live revocations for the snapshot and the memory per revocation [default: 1000000, with --quick 100000].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
    pub entries: Option<u64>,

    /// Numbers of streams to fan out to [default: 100,1000,10000, with --quick 100,1000].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=28_000))]
    pub streams: Vec<u64>,

    /// Events per second to fan out [default: 10,100].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub rates: Vec<u64>,

    /// Idle streams for the memory per stream [default: 10000, with --quick 2000].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=28_000))]
    pub idle_streams: Option<u64>,

    /// Revocations to miss and catch up with [default: 100000, with --quick 20000].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub missed: Option<u64>,

    /// Readers that ask for everything and read nothing, for the section overload [default: 100, with --quick 20].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=128))]
    pub stalled: Option<u64>,

    /// Fail when the hub's memory in the section overload was ever above so many MiB.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_memory: Option<u64>,

    /// Seconds per cell of ingest and fan-out [default: 10, with --quick 2].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: Option<u64>,
}

/// A part of the bench that can be run by itself.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Durable revocations per second.
    Ingest,
    /// Publish to receive, deliveries per second.
    Fanout,
    /// Reading everything, plain and compressed.
    Snapshot,
    /// Bytes per live revocation and per idle stream.
    Memory,
    /// Reading what was missed.
    Catchup,
    /// Many streams and entries together with readers that stand still: memory, and what others notice. Only when it is
    /// named, because it takes minutes.
    Overload,
}

/// [`Args`] with every default filled in.
#[derive(Clone, Debug)]
pub struct Plan {
    pub only: Vec<Section>,
    pub entries: u64,
    pub streams: Vec<usize>,
    pub rates: Vec<u64>,
    pub idle_streams: usize,
    pub missed: u64,
    pub stalled: usize,
    /// Bytes.
    pub max_memory: Option<u64>,
    pub cell: Duration,
}

impl Plan {
    pub fn new(args: &Args) -> Self {
        let by = |long: u64, quick: u64| if args.quick { quick } else { long };
        let or = |given: &[u64], default: &[u64]| if given.is_empty() { default.to_vec() } else { given.to_vec() };
        let streams = or(&args.streams, if args.quick { &[100, 1_000] } else { &[100, 1_000, 10_000] });
        Self {
            only: args.only.clone(),
            entries: args.entries.unwrap_or(by(1_000_000, 100_000)),
            streams: streams.into_iter().map(|n| usize::try_from(n).unwrap_or(usize::MAX)).collect(),
            rates: or(&args.rates, &[10, 100]),
            idle_streams: usize::try_from(args.idle_streams.unwrap_or(by(10_000, 2_000))).unwrap_or(usize::MAX),
            missed: args.missed.unwrap_or(by(100_000, 20_000)),
            stalled: usize::try_from(args.stalled.unwrap_or(by(100, 20))).unwrap_or(usize::MAX),
            max_memory: args.max_memory.map(|mib| mib << 20),
            cell: Duration::from_secs(args.seconds.unwrap_or(by(10, 2))),
        }
    }

    pub fn wants(&self, section: Section) -> bool {
        let unnamed = self.only.is_empty() && section != Section::Overload;
        unnamed || self.only.contains(&section)
    }

    /// The most sockets of ours that are open at once.
    pub fn most_sockets(&self) -> usize {
        let streams = if self.wants(Section::Fanout) { self.streams.iter().copied().max().unwrap_or(0) } else { 0 };
        let idle = if self.wants(Section::Memory) || self.wants(Section::Overload) { self.idle_streams } else { 0 };
        streams.max(idle) + 256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn plan(line: &str) -> Plan {
        Plan::new(&Cli::try_parse_from(line.split(' ')).expect("these arguments").args)
    }

    #[test]
    fn everything_is_measured_when_nothing_is_named() {
        let p = plan("bench");
        assert!(p.wants(Section::Ingest) && p.wants(Section::Catchup));
        assert_eq!((p.entries, p.streams), (1_000_000, vec![100, 1_000, 10_000]));
    }

    #[test]
    fn sections_and_sizes_can_be_chosen() {
        let p = plan("bench --quick --only fanout,memory --streams 7 --entries 5");
        assert!(p.wants(Section::Fanout) && p.wants(Section::Memory) && !p.wants(Section::Snapshot));
        assert_eq!((p.entries, p.streams.as_slice(), p.cell), (5, &[7][..], Duration::from_secs(2)));
        assert_eq!(p.most_sockets(), 2_256);
    }

    #[test]
    fn a_ceiling_needs_the_section_that_looks_at_it() {
        assert_eq!(plan("bench --only overload --max-memory 1024").max_memory, Some(1 << 30));
        assert!(Cli::try_parse_from(["bench", "--max-memory", "0"]).is_err());
    }

    #[test]
    fn a_password_without_a_user_is_refused() {
        assert!(Cli::try_parse_from(["bench", "--password-file", "p"]).is_err());
    }
}
