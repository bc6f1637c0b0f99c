//! The publisher against a world that fails at random: a broker, a store with leases and two replicas, on a clock that
//! jumps. The store's own rules are tested on the real engines, in `tests/store/links.rs`.

use std::collections::{BTreeMap, HashSet};

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::link::Direction;
use crate::metrics::Metrics;
use crate::revocation::{Epoch, Expiry, Id, Kind, Revocation, Target};
use crate::store::StoreError;
use crate::store::positions::Held;

/// Where the revocations come from that this outlet leaves out.
const LOOP: &str = "loop";

struct World {
    ledger: Arc<Ledger>,
    state: Mutex<Facts>,
}

/// What is true, whoever knows it.
struct Facts {
    epoch: Epoch,
    head: u64,
    log: BTreeMap<Id, Row>,
    now: i64,
    store_away: bool,
    broker_away: bool,
    /// So many of the next deliveries fail somewhere on the way.
    faults: u8,
    /// Replica, holder, and until when.
    owner: Option<(usize, String, Instant)>,
    cursor: Option<Cursor>,
    confirmed: HashSet<(String, u64)>,
    deliveries: usize,
    /// Counts the times the same log went back.
    went_back: u64,
    /// What a new outlet that starts now was never asked to send.
    from: u64,
}

/// Rows do not say of which epoch they are; these do.
fn of(row: &Row) -> (String, u64) {
    (row.revocation.target.value.split('/').next().unwrap().to_owned(), row.seq)
}

impl World {
    fn new() -> Arc<Self> {
        let (ledger, epoch) = (Ledger::new("carbon.super"), Epoch::random());
        ledger.begin(epoch.clone());
        ledger.confirm(Instant::now());
        let facts = Facts {
            epoch,
            head: 0,
            log: BTreeMap::new(),
            now: 0,
            store_away: false,
            broker_away: false,
            faults: 0,
            owner: None,
            cursor: None,
            confirmed: HashSet::new(),
            deliveries: 0,
            went_back: 0,
            from: 0,
        };
        Arc::new(Self { ledger, state: Mutex::new(facts) })
    }

    fn publisher(self: &Arc<Self>, replica: usize) -> Publisher {
        let link = Link::new(Direction::Out, "gateways", "amqp", State::Connecting, Clock::manual(0), Metrics::new());
        Publisher {
            name: "gateways".into(),
            start: Start::Earliest,
            except_sources: vec![LOOP.into()],
            positions: Arc::new(Desk { replica, world: self.clone() }),
            ledger: self.ledger.clone(),
            link,
            connect: Box::new(Exchange { replica, world: self.clone() }),
        }
    }

    fn change(&self, who: u8, exp: i64, source: &str, lifted: bool) {
        let mut facts = self.state.lock();
        if facts.store_away {
            return;
        }
        let target = Target { kind: Kind::Token, iss: None, value: format!("{}/{who}", facts.epoch.as_str()) };
        let id = target.id();
        let old = facts.log.get(&id).map(|row| (row.revocation.exp.0, row.lifted));
        if lifted && old.is_none_or(|(_, lifted)| lifted) {
            return;
        }
        facts.head += 1;
        let exp = Expiry(old.map_or(0, |(exp, _)| exp).max(facts.now + exp));
        let source = source.to_owned();
        let (issued_before, revoked_at, reason, wso2_key) = (None, 0, None, None);
        let revocation = Revocation { target, issued_before, exp, revoked_at, reason, source, wso2_key };
        let row = Row { seq: facts.head, id, lifted, revocation };
        facts.log.insert(id, row.clone());
        self.ledger.apply(&[row], facts.head, facts.now);
    }

    fn pass(&self, seconds: i64) {
        let mut facts = self.state.lock();
        facts.now += seconds;
        let now = facts.now;
        facts.log.retain(|_, row| row.revocation.exp.0 > now);
        self.ledger.sweep(now);
    }

    fn another_log(&self) {
        let mut facts = self.state.lock();
        facts.epoch = Epoch::random();
        (facts.head, facts.log) = (0, BTreeMap::new());
        self.ledger.begin(facts.epoch.clone());
        drop(facts);
        for who in 0..4 {
            self.change(who, 1000, "sts", false);
        }
        self.ledger.confirm(Instant::now());
    }
}

impl Facts {
    /// The positions of this log that have to be confirmed, up to `seq`. Of a tombstone the source is not known any more.
    fn due(&self, seq: u64) -> impl Iterator<Item = (String, u64)> + '_ {
        let due = move |row: &&Row| row.seq <= seq && (row.lifted || row.revocation.source != LOOP);
        self.log.values().filter(due).map(of)
    }

    fn missing(&self, seq: u64) -> Vec<(String, u64)> {
        self.due(seq).filter(|row| row.1 > self.from && !self.confirmed.contains(row)).collect()
    }
}

/// The positions in the store, as one replica reaches them.
struct Desk {
    replica: usize,
    world: Arc<World>,
}

impl Desk {
    /// The way there or back.
    async fn travel() {
        tokio::time::sleep(Duration::from_millis(rand::random::<u64>() % 2000)).await;
    }

    fn open(&self) -> Result<parking_lot::MutexGuard<'_, Facts>, StoreError> {
        let facts = self.world.state.lock();
        if facts.store_away { Err(StoreError::Unavailable("away".into())) } else { Ok(facts) }
    }
}

#[async_trait]
impl Positions for Desk {
    async fn hold(&self, _: &str, holder: &str, lease: Duration) -> Result<Option<Held>, StoreError> {
        Self::travel().await;
        let held = {
            let mut facts = self.open()?;
            let now = Instant::now();
            if facts.owner.as_ref().is_some_and(|(_, other, until)| other != holder && *until >= now) {
                None
            } else {
                facts.owner = Some((self.replica, holder.into(), now + lease));
                Some(Held { cursor: facts.cursor.clone() })
            }
        };
        Self::travel().await;
        Ok(held)
    }

    async fn advance(&self, _: &str, holder: &str, cursor: &Cursor) -> Result<bool, StoreError> {
        Self::travel().await;
        let ours = {
            let mut facts = self.open()?;
            let ours = facts.owner.as_ref().is_some_and(|(_, owner, _)| owner == holder);
            if ours {
                if cursor.epoch == facts.epoch {
                    assert_eq!(facts.missing(cursor.seq), [], "not confirmed, and the cursor is at {cursor}");
                }
                facts.cursor = Some(cursor.clone());
            }
            ours
        };
        Self::travel().await;
        Ok(ours)
    }

    async fn release(&self, _: &str, holder: &str) -> Result<(), StoreError> {
        Self::travel().await;
        let mut facts = self.open()?;
        if facts.owner.as_ref().is_some_and(|(_, owner, _)| owner == holder) {
            facts.owner = None;
        }
        Ok(())
    }
}

/// A broker, as one replica reaches it.
struct Exchange {
    replica: usize,
    world: Arc<World>,
}

#[async_trait]
impl Connect for Exchange {
    async fn connect(&self) -> anyhow::Result<Box<dyn Session>> {
        tokio::time::sleep(Duration::from_millis(rand::random::<u64>() % 20_000)).await;
        anyhow::ensure!(!self.world.state.lock().broker_away, "connection refused");
        Ok(Box::new(Channel { replica: self.replica, world: self.world.clone(), last: (0, String::new(), 0) }))
    }
}

struct Channel {
    replica: usize,
    world: Arc<World>,
    /// How often the log had gone back, the epoch, and the position of what was sent last.
    last: (u64, String, u64),
}

#[async_trait]
impl Session for Channel {
    async fn send(&mut self, rows: &[Row]) -> anyhow::Result<Sent> {
        // Some confirm a part and come back for the rest.
        let rows = &rows[..if rand::random() { rows.len() } else { rand::random_range(1..=rows.len()) }];
        // Much longer than a lease, now and then.
        let slow = if rand::random::<u8>() < 20 { 40_000 } else { 100 };
        let (fails, at) = {
            let mut facts = self.world.state.lock();
            facts.deliveries += 1;
            let fails = facts.faults > 0;
            facts.faults = facts.faults.saturating_sub(1);
            (fails, rand::random::<u32>() as usize % (rows.len() + 1))
        };
        for (i, row) in rows.iter().enumerate() {
            tokio::time::sleep(Duration::from_millis(rand::random::<u64>() % slow)).await;
            let facts = self.world.state.lock();
            let (replica, _, until) = facts.owner.as_ref().expect("somebody has the outlet");
            assert_eq!(*replica, self.replica, "two replicas send");
            assert!(*until >= Instant::now(), "sent after the end of the lease");
            assert_ne!(row.revocation.source, LOOP);
            anyhow::ensure!(!(facts.broker_away || fails && i == at), "reset by peer");
            let (epoch, seq) = of(row);
            let same = (facts.went_back, &epoch) == (self.last.0, &self.last.1);
            assert!(!same || seq > self.last.2, "{epoch}-{seq} after {:?}", self.last);
            self.last = (facts.went_back, epoch, seq);
        }
        tokio::time::sleep(Duration::from_millis(rand::random::<u64>() % slow)).await;
        anyhow::ensure!(!(fails && at == rows.len()), "reset by peer before the confirmation");
        self.world.state.lock().confirmed.extend(rows.iter().map(of));
        Ok(Sent { done: rows.len(), skipped: 0 })
    }
}

#[derive(Clone, Debug)]
enum Step {
    Revoke(u8, i64),
    Loop(u8),
    Lift(u8),
    Pass(i64),
    Faults(u8),
    Broker(bool),
    Store(bool),
    AnotherLog,
    Restart(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..20u8, 1..500i64).prop_map(|(who, exp)| Step::Revoke(who, exp)),
        1 => (0..20u8).prop_map(Step::Loop),
        2 => (0..20u8).prop_map(Step::Lift),
        1 => (1..50i64).prop_map(Step::Pass),
        2 => (1..4u8).prop_map(Step::Faults),
        1 => any::<bool>().prop_map(Step::Broker),
        1 => any::<bool>().prop_map(Step::Store),
        1 => Just(Step::AnotherLog),
        1 => (0..2usize).prop_map(Step::Restart),
        6 => (0..20_000u64).prop_map(Step::Wait),
    ]
}

struct Running(CancellationToken, tokio::task::JoinHandle<()>);

impl Running {
    fn start(world: &Arc<World>, replica: usize) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(world.publisher(replica).run(stop.clone()));
        Self(stop, task)
    }

    async fn stop(self) {
        self.0.cancel();
        self.1.await.unwrap();
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("waited in vain: {what}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whatever fails: everything in force is confirmed, in order, by one replica at a time, and the cursor is never
    /// ahead.
    #[test]
    fn everything_in_force_is_confirmed(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let mut replicas = [Running::start(&world, 0), Running::start(&world, 1)];
            for step in steps {
                match step {
                    Step::Revoke(who, exp) => world.change(who, exp, "sts", false),
                    Step::Loop(who) => world.change(who, 100, LOOP, false),
                    Step::Lift(who) => world.change(who, 0, "sts", true),
                    Step::Pass(seconds) => world.pass(seconds),
                    Step::Faults(n) => world.state.lock().faults += n,
                    Step::Broker(away) => world.state.lock().broker_away = away,
                    Step::Store(away) => world.state.lock().store_away = away,
                    Step::AnotherLog => if !world.state.lock().store_away { world.another_log() },
                    Step::Restart(replica) => {
                        let next = Running::start(&world, replica);
                        std::mem::replace(&mut replicas[replica], next).stop().await;
                    }
                    Step::Wait(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                }
            }
            {
                let mut facts = world.state.lock();
                (facts.store_away, facts.broker_away, facts.faults) = (false, false, 0);
            }
            until("everything is confirmed and written down", || {
                // The store is read again and again; a publisher with a cursor of another log waits for that.
                world.ledger.confirm(Instant::now());
                let facts = world.state.lock();
                let end = Some(Cursor { epoch: facts.epoch.clone(), seq: facts.head });
                facts.missing(u64::MAX).is_empty() && (facts.cursor == end || facts.head == 0)
            }).await;
            // Nothing is sent when there is nothing to say.
            let before = world.state.lock().deliveries;
            tokio::time::sleep(Duration::from_secs(300)).await;
            assert_eq!(world.state.lock().deliveries, before);
            for (i, replica) in replicas.into_iter().enumerate() {
                assert!(!replica.1.is_finished(), "a replica died");
                replica.stop().await;
                let owner = world.state.lock().owner.clone();
                assert!(owner.is_none_or(|(replica, _, until)| replica != i || until < Instant::now()), "not released");
            }
        });
    }
}

/// With one replica away from the broker the other gets its turn.
#[tokio::test(start_paused = true)]
async fn a_replica_that_cannot_reach_the_broker_gives_the_outlet_up() {
    struct Nowhere;
    #[async_trait]
    impl Connect for Nowhere {
        async fn connect(&self) -> anyhow::Result<Box<dyn Session>> {
            anyhow::bail!("no route to host")
        }
    }
    let world = World::new();
    world.change(1, 1000, "sts", false);
    let cut_off = Publisher { connect: Box::new(Nowhere), ..world.publisher(0) };
    let link = cut_off.link.clone();
    let stop = CancellationToken::new();
    let first = tokio::spawn(cut_off.run(stop.clone()));
    until("it has failed", || link.report().failures > 0).await;
    // Also who cannot send knows how much there is to send.
    link.measure(7);
    let lag = link.report().lag;
    assert!(lag == Some(7) || lag.is_none() && link.report().state == State::Standby, "{lag:?}");
    let second = Running::start(&world, 1);
    until("the other one sends", || world.state.lock().confirmed.len() == 1).await;
    stop.cancel();
    first.await.unwrap();
    assert_eq!(link.report().state, State::Stopped);
    second.stop().await;
}

/// A lease that cannot be renewed ends the sending in time, and the session with it; and it is the same one that goes on.
#[tokio::test(start_paused = true)]
async fn without_the_store_nothing_is_sent_after_the_lease() {
    let world = World::new();
    let publisher = world.publisher(0);
    let link = publisher.link.clone();
    let stop = CancellationToken::new();
    let task = tokio::spawn(publisher.run(stop.clone()));
    until("it is connected", || link.report().state == State::Connected).await;
    let since = Instant::now();
    world.state.lock().store_away = true;
    until("it gives up", || link.report().state != State::Connected).await;
    assert!(since.elapsed() <= LEASE, "{:?}", since.elapsed());
    assert!(link.report().last_error.unwrap().contains("store"));
    world.state.lock().store_away = false;
    until("it is connected again", || link.report().state == State::Connected).await;
    world.change(1, 1000, "sts", false);
    until("it sends", || world.state.lock().confirmed.len() == 1).await;
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_outlet_that_starts_now_sends_what_comes_next() {
    let world = World::new();
    world.change(1, 1000, "sts", false);
    world.state.lock().from = 1;
    let publisher = Publisher { start: Start::Now, ..world.publisher(0) };
    let (stop, link) = (CancellationToken::new(), publisher.link.clone());
    let task = tokio::spawn(publisher.run(stop.clone()));
    until("it is connected", || link.report().state == State::Connected).await;
    world.change(2, 1000, "sts", false);
    until("it sends", || !world.state.lock().confirmed.is_empty()).await;
    let epoch = world.state.lock().epoch.as_str().to_owned();
    assert_eq!(world.state.lock().confirmed, HashSet::from([(epoch, 2)]));
    stop.cancel();
    task.await.unwrap();
}

/// What was delivered before something failed is written down and not sent again, also when the hub stops right then; what
/// is left out on the way holds nothing up.
#[tokio::test(start_paused = true)]
async fn the_part_of_a_page_that_was_delivered_is_not_sent_again() {
    /// Takes so many more, and then none.
    #[derive(Clone)]
    struct Counter(Arc<Mutex<(usize, Vec<u64>)>>, Arc<World>);
    #[async_trait]
    impl Connect for Counter {
        async fn connect(&self) -> anyhow::Result<Box<dyn Session>> {
            Ok(Box::new(self.clone()))
        }
    }
    #[async_trait]
    impl Session for Counter {
        async fn send(&mut self, rows: &[Row]) -> anyhow::Result<Sent> {
            let mut state = self.0.lock();
            let mut sent = Sent::default();
            for row in rows {
                if state.0 == 0 {
                    return sent.or(anyhow::anyhow!("refused"));
                }
                state.0 -= 1;
                state.1.push(row.seq);
                self.1.state.lock().confirmed.insert(of(row));
                sent.add(1, 0);
            }
            Ok(sent)
        }
    }
    let world = World::new();
    for who in 0..12 {
        // Numbers 4 and 5, 8 and 9 are left out.
        world.change(who, 1000, if who % 4 == 3 || who > 3 && who % 4 == 0 { LOOP } else { "sts" }, false);
    }
    let counter = Counter(Arc::default(), world.clone());
    for (takes, reached) in [(2, 2), (0, 2), (1, 3), (3, 10), (5, 12)] {
        counter.0.lock().0 = takes;
        let publisher = Publisher { connect: Box::new(counter.clone()), ..world.publisher(0) };
        let (stop, link) = (CancellationToken::new(), publisher.link.clone());
        let task = tokio::spawn(publisher.run(stop.clone()));
        let end = |facts: &Facts| facts.cursor.as_ref().is_some_and(|cursor| cursor.seq == reached);
        // The store is read again and again; a publisher with a cursor waits for that.
        let read = || world.ledger.confirm(Instant::now());
        until("it is written down", || {
            read();
            end(&world.state.lock())
        })
        .await;
        until("it failed or has no more", || {
            read();
            link.report().failures > 0 || reached == 12
        })
        .await;
        stop.cancel();
        task.await.unwrap();
    }
    assert_eq!(counter.0.lock().1, [1, 2, 3, 6, 7, 10, 11]);
}

/// A log that went back (a restored backup) hands positions out again; whoever stood beyond must not wait for more.
#[tokio::test(start_paused = true)]
async fn a_log_that_went_back_is_sent_from_its_beginning() {
    for stored in [false, true] {
        let world = World::new();
        if stored {
            let epoch = world.state.lock().epoch.clone();
            world.state.lock().cursor = Some(Cursor { epoch, seq: 9 });
        } else {
            (0..9).for_each(|who| world.change(who, 1000, "sts", false));
        }
        let publisher = world.publisher(0);
        let (stop, link) = (CancellationToken::new(), publisher.link.clone());
        let task = tokio::spawn(publisher.run(stop.clone()));
        if !stored {
            until("all is sent", || world.state.lock().confirmed.len() == 9).await;
            until("and written down", || world.state.lock().cursor.as_ref().is_some_and(|c| c.seq == 9)).await;
            let mut facts = world.state.lock();
            (facts.head, facts.log) = (0, BTreeMap::new());
            facts.confirmed.clear();
            facts.went_back += 1;
            world.ledger.begin(facts.epoch.clone());
        }
        world.change(7, 1000, "sts", false);
        // A read of the store, begun after the publisher asked how far the log reaches.
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            world.ledger.confirm(Instant::now());
        }
        until("it is sent", || !world.state.lock().confirmed.is_empty()).await;
        until("the cursor is right", || world.state.lock().cursor.as_ref().is_some_and(|c| c.seq == 1)).await;
        until("nothing is left to send", || link.report().lag == Some(0)).await;
        stop.cancel();
        task.await.unwrap();
    }
}
