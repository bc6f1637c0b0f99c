//! A writer: one thing after the other, to targets of its own.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use reqwest::Method;
use revocation_hub::revocation::Cursor;
use serde_json::{Value, json};

use super::book::Op;
use super::world::{CLIENT_PATIENCE, World};

/// What came back.
enum Answer {
    /// It is done: the body and where the log stood.
    Done(Value, Cursor),
    /// There is nothing to lift.
    NotFound,
    /// It certainly had no effect.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// A writer.
struct Writer {
    world: World,
    rng: StdRng,
    /// The hub that it writes to at the moment.
    hub: usize,
    /// Its targets that are revoked and settled, and those that are lifted.
    live: Vec<String>,
    lifted: Vec<String>,
    name: String,
    made: usize,
}

/// Writes until it is told to stop.
pub async fn write(world: World, number: usize, rng: StdRng) {
    let name = format!("w{number}");
    let mut writer = Writer { world, rng, hub: 0, live: Vec::new(), lifted: Vec::new(), name, made: 0 };
    while writer.world.is_writing() {
        if writer.rng.random_bool(0.1) {
            writer.hub = writer.rng.random_range(0..writer.world.hubs());
        }
        match writer.rng.random_range(0..100) {
            0..40 => writer.new_one(3600).await,
            40..48 => {
                let life = writer.rng.random_range(1..3);
                writer.new_one(life).await;
            }
            48..55 => writer.group().await,
            55..65 => writer.repeat().await,
            65..75 => writer.extend().await,
            75..93 => writer.lift().await,
            _ => writer.again().await,
        }
    }
}

impl Writer {
    fn make(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", self.name, self.made)
    }

    /// Any of these; `None` when there is none.
    fn pick(&mut self, lifted: bool) -> Option<String> {
        let from = if lifted { &self.lifted } else { &self.live };
        let at = self.rng.random_range(0..from.len().max(1));
        from.get(at).cloned()
    }

    async fn new_one(&mut self, life: i64) {
        let jti = self.make();
        let exp = World::now() + life + self.rng.random_range(0..5) * 100 * i64::from(life > 100);
        if self.ask(&jti, Op::Revoke(exp)).await && life > 100 {
            self.live.push(jti);
        }
    }

    /// Several at once, which have to be there together or not at all.
    async fn group(&mut self) {
        let jtis: Vec<String> = (0..5).map(|_| self.make()).collect();
        let op = Op::Revoke(World::now() + 3600);
        self.world.book(|book| {
            book.group(&jtis);
            jtis.iter().for_each(|jti| book.asks(jti, op));
        });
        let body = Value::Array(jtis.iter().map(|jti| body(jti, op)).collect());
        match self.send(Method::POST, "/v1/revocations", Some(body)).await {
            Answer::Done(answer, cursor) => self.world.book(|book| {
                if answer["revoked"] != 5 {
                    book.broken(format!("five new ones, and the answer is {answer}"));
                }
                for jti in &jtis {
                    book.done(jti, op, World::now(), &cursor);
                }
            }),
            Answer::Refused => self.world.book(|book| book.refused()),
            Answer::Unknown => self.world.book(|book| jtis.iter().for_each(|jti| book.unknown(jti, op))),
            Answer::NotFound => self.world.book(|book| book.broken("404 for a POST".into())),
        }
    }

    /// What was acknowledged, once more: the hub must still know.
    async fn repeat(&mut self) {
        let Some(jti) = self.pick(false) else { return };
        let Some(exp) = self.world.book(|book| book.target(&jti).state) else { return };
        let sent = self.send(Method::POST, "/v1/revocations", Some(body(&jti, Op::Revoke(exp)))).await;
        match sent {
            Answer::Done(answer, cursor) => self.world.book(|book| {
                if answer["status"] != "unchanged" {
                    book.broken(format!("{jti} was acknowledged, and the same again is {answer}"));
                }
                book.done(&jti, Op::Revoke(exp), World::now(), &cursor);
            }),
            // It says nothing new, so nothing is unknown.
            Answer::Refused | Answer::Unknown => self.world.book(|book| book.refused()),
            Answer::NotFound => self.world.book(|book| book.broken("404 for a POST".into())),
        }
    }

    async fn extend(&mut self) {
        let Some(jti) = self.pick(false) else { return };
        let exp = self.world.book(|book| book.target(&jti).state).unwrap_or_default() + 60;
        if !self.ask(&jti, Op::Revoke(exp)).await {
            self.live.retain(|live| *live != jti);
        }
    }

    async fn lift(&mut self) {
        let Some(jti) = self.pick(false) else { return };
        self.live.retain(|live| *live != jti);
        if self.ask(&jti, Op::Lift).await {
            self.lifted.push(jti);
        }
    }

    /// Revokes again what was lifted.
    async fn again(&mut self) {
        let Some(jti) = self.pick(true) else { return };
        self.lifted.retain(|lifted| *lifted != jti);
        let exp = World::now() + 7200;
        if self.ask(&jti, Op::Revoke(exp)).await {
            self.live.push(jti);
        }
    }

    /// Asks for it, and for the same again while nobody knows; whether the target may be used further.
    async fn ask(&mut self, jti: &str, op: Op) -> bool {
        for attempt in 0..4 {
            self.world.book(|book| book.asks(jti, op));
            match self.attempt(jti, op).await {
                Answer::Done(answer, cursor) => {
                    self.world.book(|book| {
                        book.done(jti, op, World::now(), &cursor);
                        book.target(jti).id = answer["id"].as_str().map(str::to_owned);
                    });
                    return attempt == 0;
                }
                // A former attempt has succeeded meanwhile.
                Answer::NotFound if attempt > 0 => return false,
                Answer::NotFound => {
                    self.world
                        .book(|book| book.broken(format!("{jti} was acknowledged, and there is nothing to lift")));
                    return false;
                }
                Answer::Refused if attempt == 0 => {
                    self.world.book(|book| book.refused());
                    // It has the state that it had; a new one is simply not there, and a lifted one stays out of use.
                    return false;
                }
                Answer::Refused | Answer::Unknown => {
                    self.world.book(|book| book.unknown(jti, op));
                    if !self.world.is_writing() || self.rng.random_bool(0.3) {
                        return false;
                    }
                    self.hub = self.rng.random_range(0..self.world.hubs());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        false
    }

    async fn attempt(&mut self, jti: &str, op: Op) -> Answer {
        match op {
            Op::Revoke(_) => self.send(Method::POST, "/v1/revocations", Some(body(jti, op))).await,
            Op::Lift => {
                let Some(id) = self.world.book(|book| book.target(jti).id.clone()) else { return Answer::Refused };
                self.send(Method::DELETE, &format!("/v1/revocations/{id}"), None).await
            }
        }
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let api = self.world.api(self.hub);
        let mut request = api.request(method, path).timeout(CLIENT_PATIENCE);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = match request.send().await {
            Ok(response) => (response.status().as_u16(), response.bytes().await),
            // Nobody was there to take it.
            Err(error) if error.is_connect() => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                return Answer::Refused;
            }
            Err(_) => return Answer::Unknown,
        };
        let (status, Ok(bytes)) = answer else { return Answer::Unknown };
        let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match status {
            200 | 201 => match json["cursor"].as_str().and_then(|text| text.parse().ok()) {
                Some(cursor) => Answer::Done(json, cursor),
                None => Answer::Unknown,
            },
            404 => Answer::NotFound,
            503 => {
                // Senders are told to wait; ours are in a hurry, but not in a loop.
                tokio::time::sleep(Duration::from_millis(10)).await;
                // The store did not answer, which says nothing about what it did.
                if json["code"] == "store_unavailable" { Answer::Unknown } else { Answer::Refused }
            }
            other => {
                self.world.book(|book| book.broken(format!("{path} was answered with {other}: {json}")));
                Answer::Unknown
            }
        }
    }
}

fn body(jti: &str, op: Op) -> Value {
    let Op::Revoke(exp) = op else { unreachable!("a lift has no body") };
    json!({"jti": jti, "iss": "https://sts.example", "exp": exp})
}
