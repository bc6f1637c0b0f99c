"""The alert rules and the queries of the board, asked of a real Prometheus that scrapes a live hub."""

import json
import re
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from chart import CHART, HUB, ROOT, free_port

# Where no test may hang: long for a machine that is busy with other things.
LONG = 120

# What this hub has no reason to show: nothing of it has gone wrong, and it speaks to no other system.
ABSENT = {
    "admissions_refused_total", "connections_cut_total", "epoch_renewals_total", "key_sets_total", "jwt_checks_total",
    "outlet_lag_positions", "unjudged_revocations", "link_failures_total",
}

CONFIG = """
listen = "127.0.0.1:{port}"
database_url = "sqlite://{folder}/hub.db"
bookmark_interval = "200ms"
[store]
prune_interval = "200ms"
[[sources]]
name = "broker"
kind = "activemq_rest"
"""

PROMETHEUS = """
global: {{ scrape_interval: 500ms, evaluation_interval: 500ms }}
rule_files: [{rules}]
scrape_configs:
  - job_name: hub
    static_configs: [{{ targets: ["127.0.0.1:{port}"], labels: {{ namespace: n }} }}]
"""


def fetch(url, data=None, headers={}, method=None):
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=LONG) as answer:
        return answer.read()


class Prometheus(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def start(self, *command):
        log = open(self.folder / f"{Path(command[0]).name}.log", "w")
        self.addCleanup(log.close)
        process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.send_signal, signal.SIGKILL)
        return process

    def until(self, what, look):
        deadline = time.monotonic() + LONG
        while time.monotonic() < deadline:
            try:
                if found := look():
                    return found
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(0.05)
        self.fail(f"waited in vain: {what}\n" + "\n".join(f.read_text()[-2000:] for f in self.folder.glob("*.log")))

    def work(self, url):
        """A little of everything, and a stream that is read meanwhile."""
        self.until("the hub is ready", lambda: fetch(f"{url}/readyz"))
        self.start("curl", "-sN", f"{url}/v1/events?since=earliest")
        self.until("the stream is open", lambda: b"revocation_hub_streams 1\n" in fetch(f"{url}/metrics"))
        post = lambda path, value: fetch(f"{url}{path}", json.dumps(value).encode(), {"content-type": "application/json"})
        self.until("bookmarks go out", lambda: not re.search(rb"^revocation_hub_bookmarks_total 0$", fetch(f"{url}/metrics"), re.M))
        done = json.loads(post("/v1/revocations", {"jti": "a", "ttl": 60}))
        post("/v1/revocations", {"sub": "alice"})
        post("/api/message/tokenRevocation", {"revokedToken": "0bca8b7a-3f3d-4d21-9c2c-7b5b6a1f8e11"})
        fetch(f"{url}/v1/revocations/{done['id']}", method="DELETE")
        with self.assertRaises(urllib.error.HTTPError):
            post("/v1/revocations", {"jti": ""})
        # A second stream, which comes and goes.
        with urllib.request.urlopen(f"{url}/v1/events", timeout=LONG) as stream:
            stream.read(1)
        self.until("it was counted", lambda: b'streams_ended_total{reason="client"}' in fetch(f"{url}/metrics"))

    def test_rules_and_board(self):
        rules, board = CHART / "rules/revocation-hub.yaml", json.loads((CHART / "dashboards/revocation-hub.json").read_text())
        port, own = free_port(), free_port()
        (self.folder / "hub.toml").write_text(CONFIG.format(port=port, folder=self.folder))
        (self.folder / "prometheus.yml").write_text(PROMETHEUS.format(port=port, rules=rules))
        self.start(HUB, "serve", "--config", self.folder / "hub.toml")
        self.work(f"http://127.0.0.1:{port}")
        shown = fetch(f"http://127.0.0.1:{port}/metrics").decode()
        prometheus = f"http://127.0.0.1:{own}"
        self.start("prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{own}",
                   f"--storage.tsdb.path={self.folder}/data", "--log.level=warn")

        def ask(path, **query):
            answer = json.loads(fetch(f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}"))
            self.assertEqual(answer["status"], "success", answer)
            return answer["data"]

        def query(text):
            return ask("query", query=text)["result"]

        # Twice scraped, so that there are rates.
        self.until("it has scraped", lambda: query('count_over_time(revocation_hub_head{job="hub"}[1m]) >= 3'))
        # Every name in rules and board is one that the hub shows, but for those that need something to have happened.
        text = rules.read_text() + json.dumps(board)
        names = set(re.findall(r"\brevocation_hub_([a-z0-9_]+)", text))
        names = {re.sub(r"_bucket$", "", name) for name in names}
        types = set(re.findall(r"^# TYPE revocation_hub_(\w+) ", shown, re.M))
        self.assertEqual(names - types, ABSENT & names)
        self.assertEqual(ABSENT - names, set(), "nothing asks for these")
        defined = set(re.findall(r"^\| `revocation_hub_(\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.M))
        self.assertEqual((types | ABSENT) - defined, set(), "not in the reference")

        # The rules run, and nothing is wrong with this hub.
        for rule in ask("rules")["groups"][0]["rules"]:
            self.assertIn(rule["health"], ("ok", "unknown"), rule)
        self.until("all rules ran", lambda: all(r["health"] == "ok" for r in ask("rules")["groups"][0]["rules"]))
        self.assertEqual(ask("alerts")["alerts"], [])

        # Each query of the board shows something.
        fill = {"$__rate_interval": "1m", "$__range": "1h", "$namespace": ".*", "$job": ".*"}
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"]
                for name, value in fill.items():
                    expr = expr.replace(name, value)
                if any(f"revocation_hub_{name}" in expr for name in ABSENT):
                    query(expr)
                else:
                    self.assertTrue(query(expr), f"{panel['title']}: {expr}")


if __name__ == "__main__":
    unittest.main()
