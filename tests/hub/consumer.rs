//! The consumer that `docs/clients.md` shows, run by Python against hubs that do what hubs do to clients.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use revocation_hub::clock::Clock;
use serde_json::{Value, json};

use crate::harness::{NOW, Place, TestHub, until};

/// Prints what the consumer knows, again and again.
const DRIVER: &str = "
import json, sys, threading, time
sys.path.insert(0, 'integrations/consumer')
from consumer import Revocations
known = Revocations(sys.argv[1], max_age=3.0)
threading.Thread(target=known.run, daemon=True).start()
while True:
    print(json.dumps({'ids': sorted(known.live), 'stale': known.is_stale()}), flush=True)
    time.sleep(0.02)
";

struct Consumer {
    child: Child,
    last: Arc<Mutex<Value>>,
}

impl Consumer {
    fn start(address: SocketAddr) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", DRIVER, &format!("http://{address}")]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let last = Arc::new(Mutex::new(json!({"ids": [], "stale": true})));
        let (out, shared) = (child.stdout.take().unwrap(), last.clone());
        std::thread::spawn(move || {
            for line in std::io::BufReader::new(out).lines().map_while(Result::ok) {
                *shared.lock() = serde_json::from_str(&line).unwrap();
            }
        });
        Self { child, last }
    }

    async fn knows(&self, what: &str, ids: &BTreeSet<String>) {
        until(what, async || {
            let last = self.last.lock().clone();
            assert_ne!(last["ids"], json!([]), "{what}: what was known is never thrown away first");
            (last["ids"] == json!(ids)).then_some(())
        })
        .await;
    }

    async fn is_stale(&self, stale: bool) {
        until("its age is known", async || (self.last.lock()["stale"] == stale).then_some(())).await;
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn forty_lines_are_enough(place: &Place) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config = place.config();
    config.listen = vec![port];
    let start = async || TestHub::start(config.clone(), Clock::system()).await;
    let far = |jti: &str| json!({"jti": jti, "exp": NOW + 1_000_000_000});
    let hub = start().await;
    let mut ids = BTreeSet::new();
    for jti in ["a", "b", "c"] {
        ids.insert(hub.revoke(&far(jti)).await);
    }
    let consumer = Consumer::start(port);
    until("the list is loaded", async || (consumer.last.lock()["ids"] == json!(ids)).then_some(())).await;
    consumer.is_stale(false).await;

    let lifted = ids.pop_first().unwrap();
    hub.lift(&lifted).await;
    ids.insert(hub.revoke(&far("d")).await);
    consumer.knows("what happened live", &ids).await;

    hub.stop().await;
    consumer.is_stale(true).await;
    consumer.knows("what it knew", &ids).await;
    let hub = start().await;
    ids.insert(hub.revoke(&far("after the restart")).await);
    consumer.knows("what happened since", &ids).await;
    consumer.is_stale(false).await;

    // Another log underneath: the hub puts back what it holds, and the client loads the list again.
    place.sql("update log set epoch = 'anotherr'").await;
    ids.insert(hub.revoke(&far("in the new epoch")).await);
    consumer.knows("what is in the new log", &ids).await;
    ids.insert(hub.revoke(&far("and later")).await);
    consumer.knows("what happens there", &ids).await;
    hub.stop().await;
}

on_sqlite!(forty_lines_are_enough);
