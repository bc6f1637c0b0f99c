//! What was written and what came back: the truth that hubs and clients are measured against.
//!
//! An operation is acknowledged, refused (it certainly had no effect), or unknown: no answer came, or one that promises
//! nothing. A target belongs to one writer, which does one thing to it after the other and leaves it alone for good once an
//! outcome was unknown; it may only ask for the very same once more. So what is known of a target is always one state, and
//! perhaps the one that follows it.

use std::collections::BTreeMap;

use revocation_hub::revocation::Cursor;
use serde_json::Value;

use crate::harness::Map;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Revoke until this moment (NumericDate seconds).
    Revoke(i64),
    /// Take back.
    Lift,
}

/// What is known of one target.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Its id, when the hub has told it.
    pub id: Option<String>,
    /// The last state that was acknowledged: revoked until then, or not in force.
    pub state: Option<i64>,
    /// The latest expiry that was ever acknowledged. A target that is revoked again keeps it.
    latest: i64,
    /// What was asked for without an answer that says anything.
    unknown: Option<Op>,
    /// Everything that was asked for and may take a position.
    asked: Vec<Asked>,
    lifted: bool,
}

/// Something that was asked for, once or, while nobody knew the outcome, again.
#[derive(Clone, Debug)]
struct Asked {
    /// The state that it leads to.
    state: Option<i64>,
    times: usize,
    /// The furthest position that anybody had been told when it was first asked for: its own has to be behind that.
    floor: u64,
    /// Where the log stood when it was acknowledged: its own is not behind that.
    ceiling: Option<u64>,
}

impl Target {
    fn after(&self, op: Op) -> Option<i64> {
        match op {
            Op::Revoke(exp) => Some(exp.max(self.latest)),
            Op::Lift => None,
        }
    }

    /// Whether this is a state that it may have.
    fn allows(&self, state: Option<i64>) -> bool {
        state == self.state || self.unknown.is_some_and(|op| self.after(op) == state)
    }
}

/// What an event said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    jti: String,
    state: Option<i64>,
}

/// Everything that was written, answered and shown.
#[derive(Default)]
pub struct Book {
    targets: BTreeMap<String, Target>,
    groups: Vec<Vec<String>>,
    /// For each acknowledgement, in the order of time: the second in which it came, and the furthest position that any one
    /// up to it had.
    acks: Vec<(i64, u64)>,
    /// What each position means, for everybody.
    positions: BTreeMap<(String, u64), Said>,
    epoch: Option<String>,
    losses: Vec<String>,
    refused: usize,
    bookmarks: usize,
    events: usize,
}

impl Book {
    /// A promise was broken.
    pub fn broken(&mut self, what: String) {
        // The first few tell it all.
        if self.losses.len() < 20 {
            self.losses.push(what);
        }
    }

    pub fn losses(&mut self) -> Vec<String> {
        std::mem::take(&mut self.losses)
    }

    pub fn acknowledged(&self) -> usize {
        self.acks.len()
    }

    pub fn summary(&self) -> String {
        let unknown = self.targets.values().filter(|target| target.unknown.is_some()).count();
        format!(
            "{} acknowledged, {unknown} unknown, {} refused, {} events, {} bookmarks",
            self.acks.len(),
            self.refused,
            self.events,
            self.bookmarks
        )
    }

    // ---- for writers -------------------------------------------------------------------------------------------

    /// Several that are asked for together.
    pub fn group(&mut self, jtis: &[String]) {
        self.groups.push(jtis.to_vec());
    }

    pub fn target(&mut self, jti: &str) -> &mut Target {
        self.targets.entry(jti.to_owned()).or_default()
    }

    /// Something is asked for now.
    pub fn asks(&mut self, jti: &str, op: Op) {
        let floor = self.furthest();
        let target = self.target(jti);
        target.lifted |= op == Op::Lift;
        let state = target.after(op);
        match target.asked.last_mut().filter(|asked| asked.state == state && asked.ceiling.is_none()) {
            Some(asked) => asked.times += 1,
            None => target.asked.push(Asked { state, times: 1, floor, ceiling: None }),
        }
    }

    /// It certainly had no effect.
    pub fn refused(&mut self) {
        self.refused += 1;
    }

    /// Nobody knows whether it had an effect, or will have.
    pub fn unknown(&mut self, jti: &str, op: Op) {
        self.target(jti).unknown = Some(op);
    }

    /// It is done, and the log then stood at the cursor.
    pub fn done(&mut self, jti: &str, op: Op, now: i64, cursor: &Cursor) {
        let epoch = cursor.epoch.to_string();
        if self.epoch.get_or_insert(epoch.clone()) != &epoch {
            self.broken(format!("{jti}: acknowledged in epoch {epoch}, which nobody has ordered"));
        }
        let target = self.target(jti);
        let state = target.after(op);
        (target.state, target.latest) = (state, target.latest.max(state.unwrap_or(0)));
        if let Some(asked) = target.asked.last_mut().filter(|asked| asked.state == state) {
            asked.ceiling.get_or_insert(cursor.seq);
        }
        let furthest = self.furthest().max(cursor.seq);
        self.acks.push((now, furthest));
    }

    /// The furthest position that anybody was told.
    fn furthest(&self) -> u64 {
        self.acks.last().map_or(0, |(_, seq)| *seq)
    }

    // ---- for readers -------------------------------------------------------------------------------------------

    /// A client was shown this.
    pub fn shown(&mut self, who: &str, at: &Cursor, entry: &Value, lifted: bool) -> String {
        self.events += 1;
        let jti = entry["jti"].as_str().unwrap_or_default().to_owned();
        let state = if lifted { None } else { entry["exp"].as_i64() };
        match self.targets.get(&jti) {
            None => self.broken(format!("{who}: position {at} is of {jti:?}, which nobody has sent")),
            Some(target) if lifted && !target.lifted => {
                self.broken(format!("{who}: {jti} was lifted at {at}, which nobody has asked for"));
            }
            Some(_) => {}
        }
        let said = Said { jti: jti.clone(), state };
        let before = self.positions.entry((at.epoch.to_string(), at.seq)).or_insert_with(|| said.clone()).clone();
        if before != said {
            self.broken(format!("{who}: position {at} is {said:?} and was {before:?}"));
        }
        jti
    }

    /// A client at `seq` is told that it is as current as a read of the store in the second `time`.
    pub fn current(&mut self, who: &str, at: &Cursor, time: i64, now: i64) {
        self.bookmarks += 1;
        if time > now {
            self.broken(format!("{who}: a bookmark of second {time} in second {now}"));
        }
        // What was acknowledged before that second began.
        let before = self.acks.partition_point(|(second, _)| *second < time);
        let furthest = before.checked_sub(1).map_or(0, |last| self.acks[last].1);
        if at.seq < furthest {
            self.broken(format!("{who}: current at {at} as of {time}, when {furthest} had been acknowledged"));
        }
    }

    // ---- at the end --------------------------------------------------------------------------------------------

    /// Compares what somebody knows with what is true. What is over by `now` is nobody's business.
    pub fn check(&mut self, who: &str, map: &Map, now: i64) {
        let known: BTreeMap<&str, i64> =
            map.values().filter_map(|e| Some((e["jti"].as_str()?, e["exp"].as_i64()?))).collect();
        let mut losses = Vec::new();
        for jti in known.keys().filter(|jti| !self.targets.contains_key(**jti)) {
            losses.push(format!("{who}: has {jti}, which nobody has sent"));
        }
        for (jti, target) in &self.targets {
            let state = known.get(jti.as_str()).copied();
            let over = |state: Option<i64>| state.is_some_and(|exp| exp <= now);
            let gone = over(target.state) || (state.is_none() && over(Some(target.latest)));
            if !gone && !target.allows(state) {
                losses.push(format!("{who}: {jti} is {state:?}, and that cannot be: {target:?}"));
            }
        }
        for group in &self.groups {
            let there = group.iter().filter(|jti| known.contains_key(jti.as_str())).count();
            if there != 0 && there != group.len() {
                losses.push(format!("{who}: {there} of {group:?}, which were sent together"));
            }
        }
        for loss in losses {
            self.broken(loss);
        }
    }

    /// No target has moved more often than somebody asked for.
    pub fn check_moves(&mut self) {
        let mut moves: BTreeMap<&str, usize> = BTreeMap::new();
        for said in self.positions.values() {
            *moves.entry(&said.jti).or_default() += 1;
        }
        let many: Vec<String> = moves
            .into_iter()
            .filter(|(jti, moves)| {
                let asked = |target: &Target| target.asked.iter().map(|asked| asked.times).sum::<usize>();
                self.targets.get(*jti).is_some_and(|target| *moves > asked(target))
            })
            .map(|(jti, moves)| format!("{jti} moved {moves} times: {:?}", self.targets[jti]))
            .collect();
        for loss in many {
            self.broken(loss);
        }
    }
    /// Every position is where it belongs in the order of time: behind what was acknowledged before it was asked for, and not
    /// behind where the log stood when it was acknowledged itself.
    pub fn check_order(&mut self) {
        let mut losses = Vec::new();
        for ((_, seq), said) in &self.positions {
            let Some(target) = self.targets.get(&said.jti) else { continue };
            let fits = |asked: &Asked| {
                asked.state == said.state && asked.floor < *seq && asked.ceiling.is_none_or(|end| *seq <= end)
            };
            if !target.asked.iter().any(fits) {
                losses.push(format!("position {seq} is {said:?}, and what was asked for is {:?}", target.asked));
            }
        }
        for loss in losses {
            self.broken(loss);
        }
    }

    /// There was something to be right or wrong about, and every reader was told that it is current.
    pub fn check_life(&mut self, readers: usize) {
        if self.acks.is_empty() || self.events == 0 || self.bookmarks < readers {
            self.broken(format!("a history in which nothing happened: {}", self.summary()));
        }
    }
}

/// Histories that are made up: the checker finds what is wrong with each.
#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Far enough that nothing is over.
    const EXP: i64 = 10_000;

    fn at(seq: u64) -> Cursor {
        format!("aaaaaaaa-{seq}").parse().unwrap()
    }

    fn entry(jti: &str, exp: i64) -> Value {
        json!({"jti": jti, "exp": exp})
    }

    fn map(entries: &[(&str, i64)]) -> Map {
        entries.iter().map(|(jti, exp)| ((*jti).to_owned(), entry(jti, *exp))).collect()
    }

    /// Two were revoked, at positions 1 and 2 in second 100, and the second one was lifted at 3.
    fn book() -> Book {
        let mut book = Book::default();
        for (seq, jti) in [(1, "stays"), (2, "goes")] {
            book.asks(jti, Op::Revoke(EXP));
            book.done(jti, Op::Revoke(EXP), 100, &at(seq));
            book.shown("reader", &at(seq), &entry(jti, EXP), false);
        }
        book.asks("goes", Op::Lift);
        book.done("goes", Op::Lift, 101, &at(3));
        book.shown("reader", &at(3), &entry("goes", EXP), true);
        book.current("reader", &at(3), 102, 102);
        book
    }

    /// What is found wrong in the end.
    fn end(mut book: Book, known: &[(&str, i64)]) -> Vec<String> {
        book.check("reader", &map(known), 1000);
        book.check_moves();
        book.check_order();
        book.check_life(1);
        book.losses()
    }

    #[track_caller]
    fn caught(book: Book, known: &[(&str, i64)], says: &str) {
        let losses = end(book, known);
        assert!(losses.len() == 1 && losses[0].contains(says), "{losses:?}");
    }

    const GOOD: &[(&str, i64)] = &[("stays", EXP)];

    #[test]
    fn a_good_history_is_good() {
        assert_eq!(end(book(), GOOD), [""; 0]);
    }

    #[test]
    fn what_is_missing_or_changed_is_found() {
        caught(book(), &[], "stays is None");
        caught(book(), &[("stays", EXP + 1)], "stays is Some");
    }

    #[test]
    fn what_nobody_sent_is_found() {
        caught(book(), &[("stays", EXP), ("strange", EXP)], "has strange, which nobody has sent");
        let mut shown = book();
        shown.shown("reader", &at(4), &entry("strange", EXP), false);
        caught(shown, GOOD, "which nobody has sent");
    }

    #[test]
    fn a_lift_that_is_not_honoured_and_one_that_nobody_asked_for_are_found() {
        caught(book(), &[("stays", EXP), ("goes", EXP)], "goes is Some");
        let mut lifted = book();
        lifted.asks("stays", Op::Revoke(EXP));
        lifted.shown("reader", &at(4), &entry("stays", EXP), true);
        let losses = end(lifted, GOOD);
        assert!(losses.iter().any(|loss| loss.contains("was lifted at aaaaaaaa-4, which nobody")), "{losses:?}");
    }

    #[test]
    fn half_of_a_group_is_found() {
        let mut book = book();
        let both = ["one", "two"].map(str::to_owned);
        book.group(&both);
        for jti in &both {
            book.asks(jti, Op::Revoke(EXP));
            book.unknown(jti, Op::Revoke(EXP));
        }
        caught(book, &[("stays", EXP), ("one", EXP)], "which were sent together");
    }

    #[test]
    fn a_position_that_means_two_things_is_found() {
        let mut book = book();
        book.asks("other", Op::Revoke(EXP));
        book.unknown("other", Op::Revoke(EXP));
        book.shown("another reader", &at(3), &entry("other", EXP), false);
        caught(book, GOOD, "and was Said");
    }

    #[test]
    fn a_move_that_nobody_asked_for_is_found() {
        let mut book = book();
        book.shown("reader", &at(4), &entry("stays", EXP), false);
        let losses = end(book, GOOD);
        assert!(losses.iter().any(|loss| loss.contains("stays moved 2 times")), "{losses:?}");
    }

    #[test]
    fn an_order_that_is_not_that_of_time_is_found() {
        // It was asked for after 3 had been acknowledged, and stands in front of that.
        let mut early = book();
        early.asks("late", Op::Revoke(EXP));
        early.done("late", Op::Revoke(EXP), 103, &at(4));
        early.positions.remove(&("aaaaaaaa".into(), 2));
        early.shown("another reader", &at(2), &entry("late", EXP), false);
        caught(early, &[("stays", EXP), ("late", EXP)], "position 2 is Said");
        // It was acknowledged when the log stood at 4, and stands behind that.
        let mut late = book();
        late.asks("late", Op::Revoke(EXP));
        late.done("late", Op::Revoke(EXP), 103, &at(4));
        late.shown("reader", &at(5), &entry("late", EXP), false);
        caught(late, &[("stays", EXP), ("late", EXP)], "position 5 is Said");
    }

    #[test]
    fn a_bookmark_that_says_too_much_is_found() {
        // Two were acknowledged in second 100. As of 100 nobody need know them, as of 101 everybody has to.
        let mut right = book();
        right.current("reader", &at(0), 100, 100);
        right.current("reader", &at(2), 101, 101);
        assert_eq!(end(right, GOOD), [""; 0]);
        let mut wrong = book();
        wrong.current("reader", &at(1), 101, 101);
        caught(wrong, GOOD, "when 2 had been acknowledged");
        let mut early = book();
        early.current("reader", &at(3), 200, 199);
        caught(early, GOOD, "a bookmark of second 200 in second 199");
    }

    #[test]
    fn another_epoch_is_found() {
        let mut book = book();
        book.asks("new", Op::Revoke(EXP));
        book.done("new", Op::Revoke(EXP), 103, &"bbbbbbbb-1".parse().unwrap());
        let losses = end(book, &[("stays", EXP), ("new", EXP)]);
        assert!(losses.iter().any(|loss| loss.contains("which nobody has ordered")), "{losses:?}");
    }

    #[test]
    fn an_unknown_outcome_may_be_either_and_nothing_else() {
        let unknown = || {
            let mut book = book();
            book.asks("stays", Op::Revoke(EXP + 60));
            book.unknown("stays", Op::Revoke(EXP + 60));
            book
        };
        assert_eq!(end(unknown(), GOOD), [""; 0]);
        assert_eq!(end(unknown(), &[("stays", EXP + 60)]), [""; 0]);
        caught(unknown(), &[("stays", EXP + 30)], "that cannot be");
    }

    #[test]
    fn a_history_in_which_nothing_happened_proves_nothing() {
        caught(Book::default(), &[], "nothing happened");
        // Much was written, and nobody was ever told that it is current.
        let mut silent = book();
        silent.bookmarks = 0;
        caught(silent, GOOD, "nothing happened");
    }
}
