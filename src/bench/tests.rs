//! The sections against a toy hub: does the bench find what is wrong, and nothing when nothing is?

use super::toy::{self, Lie};
use super::*;

fn plan(line: &str) -> (Args, Plan) {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }
    let args = <Cli as clap::Parser>::try_parse_from(line.split(' ')).expect("these arguments").args;
    let plan = Plan::new(&args);
    (args, plan)
}

fn fan_out(lie: Lie) -> (Faults, Vec<Row>) {
    let (_, plan) = plan("bench --streams 20 --rates 50 --seconds 1");
    let mut rows = Vec::new();
    let (target, progress) = (toy::start(lie), Progress::new());
    let faults = fanout::run(&target, &plan, 1024, &Stop::default(), progress, &mut rows).expect("measured");
    (faults, rows)
}

#[test]
fn an_honest_hub_has_no_faults() {
    let (faults, rows) = fan_out(Lie::None);
    assert_eq!((faults.missing, faults.duplicates), (0, 0));
    assert_eq!(rows.len(), 2);
    let rate = rows[0].result.value.expect("a rate");
    assert!(rate > 0.0 && rows[0].latency.is_some_and(|l| l[0].is_some()), "{rows:?}");
}

#[test]
fn a_lost_delivery_is_found() {
    assert_eq!(fan_out(Lie::Drop(7)).0.missing, 20);
}

#[test]
fn a_double_delivery_is_found() {
    assert_eq!(fan_out(Lie::Double(7)).0.duplicates, 20);
}

#[test]
fn too_few_file_descriptors_are_a_reason_and_not_a_figure() {
    let (_, plan) = plan("bench --streams 20");
    let mut rows = Vec::new();
    let target = toy::start(Lie::None);
    fanout::run(&target, &plan, 100, &Stop::default(), Progress::new(), &mut rows).expect("nothing to do");
    assert_eq!(rows[0].result.value, None);
    assert!(rows[0].remark.contains("file descriptors"));
}

#[test]
fn catching_up_counts_what_came() {
    let (row, lost) = catchup::run(&toy::start(Lie::None), 500, &Stop::default(), Progress::new()).expect("synced");
    assert_eq!((lost, row.more[0].value), (0, Some(500.0)));
    let (_, lost) = catchup::run(&toy::start(Lie::Drop(9)), 500, &Stop::default(), Progress::new()).expect("synced");
    assert_eq!(lost, 1);
}

#[tokio::test]
async fn everything_runs_against_a_hub_given_by_address() {
    let target = toy::start(Lie::None);
    let line = format!(
        "bench --url http://{} --json --seconds 1 --streams 5 --rates 20 --entries 60000 --idle-streams 10 --missed 300 \
         --only snapshot,memory,catchup,fanout",
        target.addr
    );
    let (args, _) = plan(&line);
    let report = tokio::task::spawn_blocking(|| Bench::new(args, Stop::default()).conduct()).await.expect("no panic");
    let sections: Vec<&str> = report.rows.iter().map(|r| r.section).collect();
    assert_eq!(sections.iter().filter(|s| **s == "snapshot").count(), 12, "{:?}", report.rows);
    assert_eq!(sections.iter().filter(|s| **s == "memory").count(), 2);
    assert!(sections.contains(&"catch-up") && sections.contains(&"fan-out"));
    assert!(report.rows.iter().all(|r| r.result.value.is_some()), "{:?}", report.rows);
    report.print().expect("printed");
}

#[test]
fn an_interrupted_bench_ends_at_once() {
    let target = toy::start(Lie::None);
    let (args, _) = plan(&format!("bench --url http://{}", target.addr));
    let stop = Stop::default();
    stop.now();
    assert!(Bench::new(args, stop).conduct().rows.is_empty());
}

#[test]
fn a_hub_that_is_not_there_is_a_reason_in_every_section() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (args, _) = plan(&format!("bench --url http://{}", listener.local_addr().expect("bound")));
    drop(listener);
    let report = Bench::new(args, Stop::default()).conduct();
    assert_eq!(report.rows.len(), 4);
    assert!(report.rows.iter().all(|r| r.result.value.is_none() && r.remark.contains("not ready")));
}
