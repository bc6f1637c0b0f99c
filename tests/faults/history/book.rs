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
    /// How often something was asked for that may take a position.
    asked: usize,
    lifted: bool,
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
        let target = self.target(jti);
        target.asked += 1;
        target.lifted |= op == Op::Lift;
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
        let furthest = self.acks.last().map_or(0, |(_, seq)| *seq).max(cursor.seq);
        self.acks.push((now, furthest));
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
            .filter(|(jti, moves)| self.targets.get(*jti).is_some_and(|target| *moves > target.asked))
            .map(|(jti, moves)| format!("{jti} moved {moves} times: {:?}", self.targets[jti]))
            .collect();
        for loss in many {
            self.broken(loss);
        }
    }
}
