//! The ledger against a model: a plain map of what is live.

use std::collections::BTreeMap;
use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::revocation::{Expiry, Revocation, Target};

/// What happens to the log in one step.
#[derive(Clone, Debug)]
enum Step {
    Revoke {
        who: u8,
        issuer: Option<u8>,
        exp: i64,
    },
    Lift {
        who: u8,
        issuer: Option<u8>,
    },
    /// Time passes, and what is over goes.
    Sweep(i64),
    /// A client takes what is new for it.
    Read(usize),
    /// A client loads the list, or the difference to what it has.
    Load(usize),
}

const CLIENTS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12u8, proptest::option::of(0..2u8), 1..60i64).prop_map(|(who, issuer, exp)| Step::Revoke { who, issuer, exp }),
        2 => (0..12u8, proptest::option::of(0..2u8)).prop_map(|(who, issuer)| Step::Lift { who, issuer }),
        1 => (1..6i64).prop_map(Step::Sweep),
        2 => (0..CLIENTS).prop_map(Step::Read),
        1 => (0..CLIENTS).prop_map(Step::Load),
    ]
}

fn row(seq: u64, who: u8, issuer: Option<u8>, exp: i64, lifted: bool) -> Row {
    let target = Target { kind: Kind::Token, iss: issuer.map(|i| format!("https://{i}")), value: format!("t{who}") };
    let revocation = Revocation {
        issued_before: None,
        exp: Expiry(exp),
        revoked_at: 0,
        reason: None,
        source: "test".into(),
        wso2_key: None,
        target,
    };
    Row { seq, id: revocation.target.id(), lifted, revocation }
}

/// What a correct client holds: id to `exp`.
type Held = BTreeMap<String, i64>;

#[derive(Default)]
struct Client {
    seq: u64,
    held: Held,
}

impl Client {
    fn take_frames(&mut self, text: &str) {
        for event in text.split_terminator("\n\n") {
            let lines: Vec<&str> = event.lines().collect();
            let [id, kind, data] = lines[..] else { panic!("three lines, not {event:?}") };
            let seq: u64 = id.rsplit_once('-').unwrap().1.parse().unwrap();
            assert!(seq > self.seq, "{seq} after {}", self.seq);
            self.seq = seq;
            let json: serde_json::Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            self.take(&json, kind == "event: lifted");
        }
    }

    fn take(&mut self, json: &serde_json::Value, lifted: bool) {
        let id = json["id"].as_str().unwrap().to_owned();
        if lifted {
            self.held.remove(&id)
        } else {
            self.held.insert(id, json["exp"].as_i64().unwrap())
        };
    }
}

fn decode(piece: &Piece, coding: Coding) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        Coding::Identity => out.extend_from_slice(&piece.bytes),
        Coding::Gzip => {
            // A piece ends with a sync flush and not with a final block.
            let mut whole = piece.bytes.to_vec();
            whole.extend_from_slice(&[3, 0]);
            flate2::read::DeflateDecoder::new(&whole[..]).read_to_end(&mut out).unwrap();
            let mut crc = crc32fast::Hasher::new();
            crc.update(&out);
            assert_eq!(crc.finalize(), piece.crc.clone().finalize());
        }
        Coding::Zstd => out = zstd::stream::decode_all(&piece.bytes[..]).unwrap_or_default(),
    }
    assert_eq!(out.len() as u64, piece.plain_len);
    out
}

fn list(view: &View, shape: Shape, coding: Coding) -> Vec<serde_json::Value> {
    let pieces: Vec<String> = view
        .parts
        .iter()
        .map(|part| part.piece(shape, coding))
        .filter(|piece| !piece.is_empty())
        .map(|piece| String::from_utf8(decode(&piece, coding)).unwrap())
        .collect();
    serde_json::from_str(&format!("[{}]", pieces.join(","))).unwrap()
}

fn held(view: &View, coding: Coding) -> Held {
    let items = list(view, Shape::Json, coding);
    let count = items.len();
    let held: Held = items.iter().map(|r| (r["id"].as_str().unwrap().into(), r["exp"].as_i64().unwrap())).collect();
    assert_eq!(held.len(), count, "each once");
    held
}

/// Everything after `start` as rows, page by page.
fn read_back(ledger: &Ledger, epoch: &Epoch, start: u64, limit: usize) -> Vec<Row> {
    let (mut at, mut all) = (start, Vec::new());
    loop {
        let page = ledger.rows(epoch, at, limit).unwrap();
        assert!(page.rows.len() <= limit && page.seq >= at && page.seq <= page.head);
        if page.seq == at {
            assert_eq!((page.rows.len(), page.head), (0, at));
            return all;
        }
        assert!(page.rows.iter().all(|row| row.seq > at && row.seq <= page.seq));
        all.extend(page.rows);
        at = page.seq;
    }
}

fn expected_rows(model: &BTreeMap<Id, (Row, bool)>, start: u64) -> Vec<Row> {
    let mut rows: Vec<Row> = model.values().map(|(row, _)| row.clone()).filter(|row| row.seq > start).collect();
    rows.sort_by_key(|row| row.seq);
    // A tombstone keeps its target and no more.
    rows.iter_mut().filter(|row| row.lifted).for_each(|row| row.revocation.source.clear());
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Complete and bounded: whatever happens, lists, indexes and every client's own copy say what the log says.
    #[test]
    fn the_ledger_says_what_the_log_says(steps in proptest::collection::vec(step(), 1..400)) {
        let ledger = Ledger::new("carbon.super");
        let epoch = Epoch::random();
        ledger.begin(epoch.clone());
        ledger.confirm(Instant::now());
        let (mut model, mut now, mut head) = (BTreeMap::<Id, (Row, bool)>::new(), 0i64, 0u64);
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::default()).collect();
        for step in steps {
            let change = match step {
                // The store never lets an expiry shrink while anybody may hold the longer one.
                Step::Revoke { who, issuer, exp } => {
                    let id = row(0, who, issuer, 0, false).id;
                    let exp = model.get(&id).map_or(0, |(old, _)| old.revocation.exp.0).max(now + exp);
                    Some(row(head + 1, who, issuer, exp, false))
                }
                Step::Lift { who, issuer } => {
                    let id = row(0, who, issuer, 0, true).id;
                    model.get(&id).filter(|(_, live)| *live).map(|(old, _)| row(head + 1, who, issuer, old.revocation.exp.0, true))
                }
                Step::Sweep(seconds) => {
                    now += seconds;
                    let mut over = ledger.sweep(now);
                    over.sort_unstable();
                    let expected = model.values().filter(|(row, _)| row.revocation.exp.0 <= now).map(|(row, _)| row.id);
                    prop_assert_eq!(over, expected.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>());
                    model.retain(|_, (row, _)| row.revocation.exp.0 > now);
                    None
                }
                Step::Read(c) => {
                    let client = &mut clients[c];
                    loop {
                        let frames = ledger.frames(&epoch, client.seq, 300, false).unwrap();
                        client.take_frames(std::str::from_utf8(&frames.bytes).unwrap());
                        client.seq = frames.seq;
                        if frames.seq == frames.head { break }
                    }
                    None
                }
                Step::Load(c) => {
                    let client = &mut clients[c];
                    let view = ledger.view(client.seq).unwrap();
                    for r in list(&view, Shape::Json, Coding::Identity) { client.take(&r, false) }
                    for r in list(&view, Shape::LiftedJson, Coding::Identity) { client.take(&r, true) }
                    client.seq = view.cursor.seq;
                    None
                }
            };
            if let Some(row) = change {
                head += 1;
                ledger.apply(std::slice::from_ref(&row), head, now);
                let live = !row.lifted;
                model.insert(row.id, (row, live));
            }
        }
        let live: Held = model.iter().filter(|(_, (_, live))| *live)
            .map(|(id, (row, _))| (id.to_string(), row.revocation.exp.0)).collect();
        let view = ledger.view(0).unwrap();
        for coding in [Coding::Identity, Coding::Gzip, Coding::Zstd] {
            prop_assert_eq!(&held(&view, coding), &live);
            // Each value once, whatever its issuers, and with the longest life.
            let tokens = list(&view, Shape::Wso2Tokens, coding);
            let mut longest = BTreeMap::<String, i64>::new();
            for (row, _) in model.values().filter(|(_, live)| *live) {
                let exp = longest.entry(row.revocation.target.value.clone()).or_default();
                *exp = row.revocation.exp.0.max(*exp);
            }
            let shown: Vec<(String, i64)> = tokens.iter()
                .map(|t| (t["jwt_signature"].as_str().unwrap().into(), t["expiry_time"].as_i64().unwrap() / 1000)).collect();
            prop_assert_eq!(shown.len(), longest.len());
            prop_assert_eq!(shown.into_iter().collect::<BTreeMap<_, _>>(), longest);
        }
        prop_assert_eq!(view.live, live.len());
        for (start, limit) in [(0, usize::MAX), (0, 1), (0, 7), (head / 2, 3), (head, 1)] {
            prop_assert_eq!(read_back(&ledger, &epoch, start, limit), expected_rows(&model, start));
        }
        let stats = ledger.stats();
        prop_assert_eq!(stats.live.iter().sum::<usize>(), live.len());
        prop_assert_eq!(stats.tombstones, model.values().filter(|(_, live)| !*live).count());
        for (id, (row, is_live)) in &model {
            prop_assert_eq!(ledger.get(*id).is_some(), *is_live);
            let claims = Claims { jti: Some(row.revocation.target.value.clone()), iss: Some(row.revocation.target.iss.clone()), ..Claims::default() };
            let without = Id::of(Kind::Token, None, &row.revocation.target.value);
            let expected = *is_live || model.get(&without).is_some_and(|(_, live)| *live);
            prop_assert_eq!(ledger.check(&claims).is_some(), expected);
        }
        for client in &mut clients {
            loop {
                let frames = ledger.frames(&epoch, client.seq, 1 << 20, false).unwrap();
                client.take_frames(std::str::from_utf8(&frames.bytes).unwrap());
                client.seq = frames.seq;
                if frames.seq == frames.head { break }
            }
            // A client drops what is over by itself; it cannot know of what it never had.
            client.held.retain(|_, exp| *exp > now);
            prop_assert_eq!(&client.held, &live);
        }
    }
}

/// Rows of as many tokens, from position 1 on.
fn different(n: u64) -> Vec<Row> {
    let token = |seq| {
        let mut r = row(seq, 0, None, 1000 + (seq % 7) as i64, false);
        r.revocation.target.value = format!("token-{seq}");
        r.id = r.revocation.target.id();
        r
    };
    (1..=n).map(token).collect()
}

fn filled(n: u64) -> (Arc<Ledger>, Epoch) {
    let (ledger, epoch) = (Ledger::new("carbon.super"), Epoch::random());
    ledger.begin(epoch.clone());
    let rows = different(n);
    rows.chunks(1000).for_each(|rows| ledger.apply(rows, rows.last().unwrap().seq, 0));
    ledger.confirm(Instant::now());
    (ledger, epoch)
}

#[test]
fn resumable_from_any_position_across_many_segments() {
    let (ledger, epoch) = filled(20_000);
    // Not from the recent frames: everything was loaded before the first stream.
    for start in [0, 1, 4095, 4096, 4097, 12_345, 19_999, 20_000] {
        let mut client = Client { seq: start, ..Client::default() };
        loop {
            let frames = ledger.frames(&epoch, client.seq, 64 << 10, true).unwrap();
            client.take_frames(std::str::from_utf8(&frames.bytes).unwrap());
            client.seq = frames.seq;
            if frames.seq == frames.head {
                break;
            }
        }
        assert_eq!(client.held.len() as u64, 20_000 - start);
    }
    assert_eq!(held(&ledger.view(0).unwrap(), Coding::Zstd).len(), 20_000);
    assert_eq!(held(&ledger.view(12_345).unwrap(), Coding::Gzip).len(), 20_000 - 12_345);
}

#[test]
fn bounded_what_is_over_leaves_no_memory_behind() {
    let (ledger, _) = filled(20_000);
    for cutoff in 1000..1007 {
        ledger.sweep(cutoff);
        let left = (1..=20_000).filter(|seq| 1000 + seq % 7 > cutoff).count();
        assert_eq!(ledger.stats().live.iter().sum::<usize>(), left);
        let inner = ledger.inner.read();
        let kept: usize = inner.segments.iter().map(|s| s.data.len()).sum();
        assert!(kept <= left * 3 / 2 + 1, "{kept} entries kept for {left}");
        assert!(inner.segments.len() <= left / 1000 + 2, "{} segments for {left}", inner.segments.len());
    }
    assert_eq!(ledger.inner.read().segments.len(), 0);
}

#[test]
fn a_view_is_not_touched_by_what_happens_afterwards() {
    let (ledger, _) = filled(100);
    let before = ledger.view(0).unwrap();
    ledger.apply(&[row(101, 1, None, 5000, false)], 101, 0);
    ledger.sweep(1003);
    assert_eq!(held(&before, Coding::Gzip).len(), 100);
    // And a piece made from the older state is not taken for one of the newer.
    assert_eq!(held(&ledger.view(0).unwrap(), Coding::Gzip).len(), 101 - (1..=100).filter(|s| s % 7 <= 3).count());
    assert_eq!(held(&before, Coding::Gzip).len(), 100);
}

#[tokio::test]
async fn another_epoch_is_loaded_beside_the_old_one() {
    let (ledger, old) = filled(10);
    ledger.tick(Some(77));
    assert!(ledger.bookmark(&old, 10).is_some());
    let mut pulse = ledger.subscribe();
    let new = Epoch::random();
    for _ in 0..2 {
        // The second time another one comes before the first is there.
        ledger.begin(new.clone());
        ledger.apply(&[row(1, 1, None, 5000, false)], 1, 0);
        // Until all of it is there the old one answers, and says nothing of how old it is.
        assert_eq!(ledger.cursor(), Some(Cursor { epoch: old.clone(), seq: 10 }));
        assert_eq!(held(&ledger.view(0).unwrap(), Coding::Identity).len(), 10);
        assert_eq!(ledger.frames(&old, 10, 1000, false).unwrap().seq, 10);
        ledger.tick(Some(78));
        assert!(ledger.bookmark(&old, 10).is_none() && ledger.is_loading());
    }
    ledger.apply(&[row(2, 2, None, 5000, false)], 2, 0);
    assert_eq!(pulse.borrow_and_update().resets, 0);
    ledger.confirm(Instant::now());
    let now = *pulse.borrow_and_update();
    assert_eq!((now.resets, now.head, ledger.is_loading()), (1, 2, false));
    assert_eq!(ledger.cursor(), Some(Cursor { epoch: new, seq: 2 }));
    assert_eq!(held(&ledger.view(0).unwrap(), Coding::Identity).len(), 2);
    assert!(ledger.frames(&old, 10, 1000, false).is_none());
}

#[tokio::test]
async fn current_a_bookmark_is_for_everybody_who_has_come_so_far() {
    let (ledger, epoch) = filled(10);
    ledger.tick(Some(77));
    ledger.apply(&[row(11, 1, None, 5000, false)], 11, 0);
    let text = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    let frame = |seq| format!("id: {epoch}-{seq}\nevent: bookmark\ndata: {{\"head\":{seq},\"time\":77}}\n\n");
    assert_eq!(text(ledger.bookmark(&epoch, 10)), frame(10));
    // More has come since the read. What it knew then is as old as the read, and the cursor must not go back.
    assert_eq!(text(ledger.bookmark(&epoch, 11)), frame(11));
    assert!(ledger.bookmark(&epoch, 9).is_none(), "it has not got everything of then");
    assert!(ledger.bookmark(&Epoch::random(), 11).is_none());
}

#[tokio::test]
async fn isolated_a_slow_stream_holds_a_piece_and_not_a_batch() {
    let (ledger, epoch) = filled(0);
    ledger.apply(&different(5000), 5000, 0);
    let (mut at, mut pieces, mut seen) = (0, 0, 0);
    while at < 5000 {
        let frames = ledger.frames(&epoch, at, 64 << 10, false).unwrap();
        assert!(frames.bytes.len() < 70 << 10 && frames.seq > at, "{} bytes", frames.bytes.len());
        seen += frames.bytes.windows(7).filter(|w| w == b"\nevent:").count();
        (at, pieces) = (frames.seq, pieces + 1);
    }
    assert!(pieces > 5, "{pieces}");
    assert_eq!(seen, 5000);
}

#[tokio::test]
async fn reach_waits_for_a_read_that_began_after_the_question() {
    let (ledger, epoch) = filled(10);
    assert_eq!(ledger.reach(&epoch, 10).await, Reach::Here);
    let asked = ledger.reach(&epoch, 11);
    tokio::pin!(asked);
    assert!(futures_util::poll!(&mut asked).is_pending());
    // A read that began before says nothing about what was committed since.
    ledger.confirm(Instant::now() - Duration::from_secs(1));
    assert!(futures_util::poll!(&mut asked).is_pending());
    ledger.apply(&[row(11, 1, None, 5000, false)], 11, 0);
    assert_eq!(asked.await, Reach::Here);
    let asked = ledger.reach(&epoch, 12);
    tokio::pin!(asked);
    assert!(futures_util::poll!(&mut asked).is_pending());
    tokio::time::sleep(Duration::from_millis(1)).await;
    ledger.confirm(Instant::now());
    assert_eq!((asked.await, ledger.claim(), ledger.claim()), (Reach::Beyond, Some((epoch.clone(), 12)), None));
    // Another replica may have renewed the epoch; that too is for a read to show.
    let new = Epoch::random();
    let asked = ledger.reach(&new, 3);
    tokio::pin!(asked);
    assert!(futures_util::poll!(&mut asked).is_pending());
    tokio::time::sleep(Duration::from_millis(1)).await;
    ledger.begin(new.clone());
    ledger.apply(&[row(3, 1, None, 5000, false)], 3, 0);
    assert!(futures_util::poll!(&mut asked).is_pending());
    ledger.confirm(Instant::now());
    assert_eq!(asked.await, Reach::Here);
    let asked = ledger.reach(&epoch, 3);
    tokio::pin!(asked);
    assert!(futures_util::poll!(&mut asked).is_pending());
    tokio::time::sleep(Duration::from_millis(1)).await;
    ledger.confirm(Instant::now());
    assert_eq!((asked.await, ledger.claim()), (Reach::OtherEpoch, None));
}

#[test]
fn rows_come_back_as_they_went_in() {
    let (ledger, epoch) = (Ledger::new("carbon.super"), Epoch::random());
    ledger.begin(epoch.clone());
    let hostile = ["plain", "a\"b\\c/", "\u{1}\n\u{2028}", "日本 🔑", "{\"iss\":1}"];
    let mut rows = Vec::new();
    for kind in Kind::ALL {
        for (i, value) in hostile.into_iter().enumerate() {
            let iss = (kind != Kind::Issuer && i % 2 == 0).then(|| format!("https://{value}"));
            let revocation = Revocation {
                issued_before: kind.has_issued_before().then_some(77),
                exp: [Expiry::NEVER, Expiry(5000)][i % 2],
                revoked_at: 66,
                reason: (i > 0).then(|| value.to_owned()),
                source: value.into(),
                wso2_key: (kind == Kind::TokenHash && i > 1).then(|| value.to_owned()),
                target: Target { kind, iss, value: value.into() },
            };
            rows.push(Row { seq: rows.len() as u64 + 1, id: revocation.target.id(), lifted: false, revocation });
        }
    }
    let head = rows.len() as u64;
    ledger.apply(&rows, head, 0);
    assert!(ledger.rows(&epoch, 0, 1).is_none(), "not loaded");
    ledger.confirm(Instant::now());
    assert_eq!(read_back(&ledger, &epoch, 0, 3), rows);
    assert!(ledger.rows(&Epoch::random(), 0, 1).is_none());
}
