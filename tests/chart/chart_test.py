"""Renders the chart in several ways and looks at what comes out; started by ./scripts/chart-test.

Nothing here needs a cluster. What Kubernetes knows is checked against its schemas, the rules by promtool, the configuration
by the hub itself, and the commands of the migration and of `helm test` are run against a hub that this starts.
"""

import copy
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tempfile
import tomllib
import unittest
import urllib.request
from pathlib import Path

import kubernetes_validate
import yaml

import schema

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/revocation-hub"
VALUES = ROOT / "tests/chart/values"
HUB = Path(os.environ["HUB"]).resolve()
HELM = os.environ["HELM"]
PROMTOOL = os.environ.get("PROMTOOL", "promtool")
# The oldest that Chart.yaml admits, and the newest that the validator knows.
KUBERNETES = ["1.30", "1.37"]
SETS = ["postgres", "sqlite", "everything"]
FOREIGN = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}


def helm(*arguments, **more):
    return subprocess.run([HELM, *map(str, arguments)], capture_output=True, text=True, **more)


def merge(base, change):
    """As Helm puts values together."""
    for key, value in change.items():
        base[key] = merge(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return base


def values(name, **change):
    return merge(yaml.safe_load((VALUES / f"{name}.yaml").read_text()), change)


def template(given):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(given, file)
        file.flush()
        return helm("template", "hub", CHART, "--namespace", "identity", "-f", file.name)


def render(name, **change):
    answer = template(values(name, **change))
    assert answer.returncode == 0, answer.stderr
    return [item for item in yaml.safe_load_all(answer.stdout) if item]


def only(objects, kind, name=None):
    found = [o for o in objects if o["kind"] == kind and (name is None or o["metadata"]["name"] == name)]
    assert len(found) == 1, f"{len(found)} of kind {kind}"
    return found[0]


def pods(objects):
    """Every pod that comes of the objects, as (name, its specification)."""
    for o in objects:
        if o["kind"] == "Pod":
            yield o["metadata"]["name"], o["spec"]
        elif "template" in o.get("spec", {}):
            yield o["metadata"]["name"], o["spec"]["template"]["spec"]


def hub_pod(objects):
    kind = "Deployment" if any(o["kind"] == "Deployment" for o in objects) else "StatefulSet"
    return only(objects, kind)["spec"]["template"]["spec"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Refused(unittest.TestCase):
    """Renders that fail, and with what words."""

    def refused(self, text, given):
        answer = template(given)
        self.assertNotEqual(answer.returncode, 0, "it was rendered")
        self.assertIn(text, " ".join(answer.stderr.split()))

    def test_nothing_said(self):
        self.refused("image.repository is empty", {})

    def test_unknown_values(self):
        for place in (["replica"], ["image", "sha"], ["config", "clock_scew"], ["config", "limits", "max_item"],
                      ["networkPolicy", "egress", "dnss"], ["probes", "liveness", "path"]):
            change = given = {}
            for part in place[:-1]:
                change = change.setdefault(part, {})
            change[place[-1]] = 1
            self.refused(place[-1], values("postgres", **given))

    def test_no_clients(self):
        self.refused("config.clients is empty", values("postgres", config={"clients": []}))
        # An issuer lets in only whom it has credentials for.
        issuer = {"issuer": "https://login.example.com"}
        self.refused("config.clients is empty", values("postgres", config={"clients": [], "issuers": [issuer]}))
        issuer["credentials"] = {"audiences": ["hub"], "scopes": {"read": ["read"]}}
        render("postgres", config={"clients": [], "issuers": [issuer]})

    def test_sqlite_is_for_one(self):
        self.refused("replicas is 2: a SQLite file belongs to one hub", values("sqlite", replicas=2))
        self.refused("autoscaling.enabled: a SQLite file", values("sqlite", autoscaling={"enabled": True}))
        self.refused("migrations.mode=job", values("sqlite", migrations={"mode": "job"}))

    def test_grace_too_low(self):
        self.refused("terminationGracePeriodSeconds is 24, but preStopSleepSeconds and config.shutdown.grace need 25",
                     values("postgres", terminationGracePeriodSeconds=24))
        self.refused("has to be shorter than config.shutdown.grace", values("postgres", config={"shutdown": {"grace": "9s"}}))
        self.refused("write it with ms, s, m, h or d", values("postgres", config={"shutdown": {"grace": "2 fortnights"}}))

    def test_secrets_have_no_place_in_values(self):
        for client in ({"basic": {"username": "a", "password": "hunter2"}}, {"bearer": {"token": "hunter2"}},
                       {"webhook": {"secret": "hunter2"}}):
            answer = template(values("postgres", config={"clients": [{"name": "a", "scopes": ["read"], **client}]}))
            self.assertNotEqual(answer.returncode, 0)
            self.assertIn("dditional propert", answer.stderr)
        for url in ("amqp://hub:hunter2@broker/carbon", ["amqp://broker", "amqps://hub:hunter2@broker"]):
            source = {"name": "b", "kind": "amqp", "url": url}
            self.assertNotEqual(template(values("postgres", config={"sources": [source]})).returncode, 0)
        self.assertNotEqual(template(values("postgres", config={"database_url": "postgres://a:b@c/d"})).returncode, 0)

    def test_files_that_nothing_mounts(self):
        self.refused("config.clients[0].bearer.token_file: nothing is mounted at", values("postgres", secretFiles=[]))

    def test_what_a_policy_would_cut_off(self):
        self.refused("networkPolicy.egress.database.peers is empty",
                     values("postgres", networkPolicy={"egress": {"database": {"peers": []}}}))
        self.refused("others", values("postgres", networkPolicy={"egress": {"others": [{"peers": [], "ports": [5672]}]}}))

    def test_the_database_is_named(self):
        self.refused("database.postgres.existingSecret is empty",
                     values("postgres", database={"postgres": {"existingSecret": ""}}))


class Rendered(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.all = {name: render(name) for name in SETS}

    def test_lint(self):
        for name in SETS:
            answer = helm("lint", "--strict", CHART, "-f", VALUES / f"{name}.yaml")
            self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)

    def test_schema_is_what_the_hub_knows(self):
        self.assertEqual((CHART / "values.schema.json").read_text(), schema.text(HUB),
                         "write it again with ./scripts/chart-test --write-schema")

    def test_every_object_is_closed(self):
        """Whatever has properties refuses others."""
        def walk(node, place):
            if isinstance(node, dict):
                if "properties" in node:
                    self.assertIs(node.get("additionalProperties"), False, place)
                for key, value in node.items():
                    walk(value, f"{place}.{key}")
            elif isinstance(node, list):
                for i, value in enumerate(node):
                    walk(value, f"{place}[{i}]")
        walk(json.loads((CHART / "values.schema.json").read_text()), "values")

    def test_kubernetes_knows_every_member(self):
        kinds = set()
        for name in SETS:
            for o in self.all[name]:
                kinds.add(o["kind"])
                if o["kind"] not in FOREIGN:
                    for version in KUBERNETES:
                        with self.subTest(set=name, kind=o["kind"], version=version):
                            kubernetes_validate.validate(copy.deepcopy(o), version, strict=True)
        self.assertEqual(kinds - FOREIGN, {
            "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "Job", "NetworkPolicy", "Pod",
            "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"})

    def test_names_are_once_and_in_one_release(self):
        for name in SETS:
            seen = [(o["kind"], o["metadata"]["name"]) for o in self.all[name]]
            self.assertEqual(len(seen), len(set(seen)), seen)
            for o in self.all[name]:
                self.assertEqual(o["metadata"]["labels"]["app.kubernetes.io/instance"], "hub")

    def test_pods_may_do_nothing(self):
        """The restricted profile of the Pod Security Standards, and no credentials of Kubernetes."""
        for name in SETS:
            for pod_name, pod in pods(self.all[name]):
                with self.subTest(set=name, pod=pod_name):
                    self.assertIs(pod["automountServiceAccountToken"], False)
                    self.assertIs(pod["securityContext"]["runAsNonRoot"], True)
                    self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                    for container in pod["containers"] + pod.get("initContainers", []):
                        own = container["securityContext"]
                        self.assertEqual(own, {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                               "capabilities": {"drop": ["ALL"]}})
                        self.assertIn("memory", container["resources"]["limits"])
                    for volume in pod.get("volumes", []):
                        self.assertLessEqual(set(volume) - {"name"}, {"configMap", "secret", "emptyDir", "persistentVolumeClaim"})
                    mounted = {m["name"] for c in pod["containers"] + pod.get("initContainers", []) for m in c["volumeMounts"]}
                    claims = {"data"} if name == "sqlite" and pod_name.endswith("revocation-hub") else set()
                    self.assertEqual(mounted, {v["name"] for v in pod["volumes"]} | claims)

    def test_no_secret_is_made(self):
        for name in SETS:
            self.assertFalse([o for o in self.all[name] if o["kind"] == "Secret"])

    def test_probes_differ(self):
        container = hub_pod(self.all["postgres"])["containers"][0]
        asked = {kind: container[kind]["httpGet"]["path"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
        self.assertEqual(asked, {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"})
        patience = lambda kind: container[kind]["periodSeconds"] * container[kind]["failureThreshold"]
        self.assertTrue(patience("readinessProbe") < patience("livenessProbe") < patience("startupProbe"))

    def test_grace_is_computed(self):
        grace = lambda **change: hub_pod(render("postgres", **change))["terminationGracePeriodSeconds"]
        self.assertEqual(grace(), 30)
        self.assertEqual(grace(preStopSleepSeconds=0), 25)
        self.assertEqual(grace(config={"shutdown": {"grace": "1m 500ms"}}), 71)
        self.assertEqual(grace(config={"shutdown": {"grace": 40}}), 50)
        self.assertEqual(grace(terminationGracePeriodSeconds=25), 25)
        self.assertEqual(hub_pod(self.all["everything"])["terminationGracePeriodSeconds"], 90)
        # What the chart says is what the hub does when nobody says anything.
        defaults = schema.Hub(HUB).defaults
        chart = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
        self.assertEqual(chart["shutdown"], defaults["shutdown"])
        self.assertEqual(chart["streams"]["max_age"], defaults["streams"]["max_age"])

    def test_another_configuration_means_other_pods(self):
        checksum = lambda objects: only(objects, "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        self.assertEqual(checksum(self.all["postgres"]), checksum(render("postgres")))
        self.assertNotEqual(checksum(self.all["postgres"]), checksum(render("postgres", config={"clock_skew": "61s"})))

    def test_migrations(self):
        toml = lambda objects, name: tomllib.loads(only(objects, "ConfigMap", name)["data"]["revocation-hub.toml"])
        self.assertIs(toml(self.all["postgres"], "hub-revocation-hub")["migrate_on_start"], True)
        self.assertNotIn("initContainers", hub_pod(self.all["postgres"]))
        self.assertFalse([o for o in self.all["postgres"] if o["kind"] == "Job"])
        self.assertIs(toml(self.all["sqlite"], "hub-revocation-hub")["migrate_on_start"], False)
        self.assertEqual(hub_pod(self.all["sqlite"])["initContainers"][0]["args"], ["migrate"])
        self.assertIs(toml(self.all["everything"], "hub")["migrate_on_start"], False)
        job = only(self.all["everything"], "Job")
        self.assertEqual(job["metadata"]["annotations"]["helm.sh/hook"], "pre-install,pre-upgrade")
        # At the first install nothing of the release is there yet, so the Job must not need anything of it.
        self.assertNotIn("serviceAccountName", job["spec"]["template"]["spec"])
        own = {o["metadata"]["name"] for o in self.all["everything"] if o["kind"] == "ConfigMap"}
        used = {v["configMap"]["name"] for v in job["spec"]["template"]["spec"]["volumes"] if "configMap" in v}
        self.assertFalse(own & used)
        secret = lambda pod: {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        self.assertEqual(secret(job["spec"]["template"]["spec"])["migrations"], "hub-owner")
        self.assertNotIn("hub-owner", secret(hub_pod(self.all["everything"])).values())
        init = hub_pod(render("postgres", migrations={"mode": "init", "existingSecret": "hub-owner"}))
        self.assertEqual(secret(init)["migrations"], "hub-owner")

    def test_policies_deny(self):
        for name in ("postgres", "everything"):
            policies = [o for o in self.all[name] if o["kind"] == "NetworkPolicy"]
            for pod in [o for o in self.all[name] if o["kind"] in ("Deployment", "Job", "Pod")]:
                labels = pod.get("spec", {}).get("template", pod)["metadata"]["labels"]
                hit = [p for p in policies if p["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]
                self.assertEqual(len(hit), 1, f"{pod['kind']} of {name}")
            for policy in policies:
                spec = policy["spec"]
                self.assertEqual(spec["policyTypes"], ["Ingress", "Egress"])
                # A rule without peers or ports is one for everybody or everything.
                for rule, peers in [(r, "from") for r in spec["ingress"]] + [(r, "to") for r in spec["egress"]]:
                    self.assertTrue(rule[peers] and rule["ports"], rule)
                    self.assertTrue(all(rule[peers]), rule)
        # Nobody named, nobody let in.
        closed = render("postgres", networkPolicy={"ingress": {"clients": []}, "egress": {"dns": []}})
        self.assertEqual(only(closed, "NetworkPolicy")["spec"]["ingress"], [])
        ports = [p["port"] for r in only(closed, "NetworkPolicy")["spec"]["egress"] for p in r["ports"]]
        self.assertEqual(ports, [5432])
        sqlite = render("sqlite", networkPolicy={"enabled": True, "egress": {"dns": []}}, test={"existingSecret": ""})
        self.assertEqual(only(sqlite, "NetworkPolicy")["spec"]["egress"], [])
        self.assertFalse([o for o in self.all["sqlite"] if o["kind"] == "NetworkPolicy"])

    def test_scaling(self):
        self.assertEqual(only(self.all["postgres"], "PodDisruptionBudget")["spec"]["maxUnavailable"], 1)
        self.assertFalse([o for o in self.all["sqlite"] + render("postgres", replicas=1) if o["kind"] == "PodDisruptionBudget"])
        self.assertEqual(only(self.all["postgres"], "Deployment")["spec"]["replicas"], 2)
        # The autoscaler's number would be undone by each upgrade.
        self.assertNotIn("replicas", only(self.all["everything"], "Deployment")["spec"])
        scaler = only(self.all["everything"], "HorizontalPodAutoscaler")["spec"]
        self.assertEqual(scaler["metrics"][0]["pods"]["metric"]["name"], "revocation_hub_streams")
        self.assertEqual(scaler["scaleTargetRef"]["name"], only(self.all["everything"], "Deployment")["metadata"]["name"])
        down = scaler["behavior"]["scaleDown"]
        self.assertGreaterEqual(down["stabilizationWindowSeconds"], 600)
        self.assertEqual(down["policies"], [{"type": "Pods", "value": 1, "periodSeconds": 600}])

    def test_selectors_hit_the_hub_only(self):
        for name in SETS:
            selector = only(self.all[name], "Service")["spec"]["selector"].items()
            for o in self.all[name]:
                labels = o.get("spec", {}).get("template", o)["metadata"]["labels"].items() if o["kind"] in (
                    "Deployment", "StatefulSet", "Job", "Pod") else ()
                if labels:
                    self.assertEqual(selector <= labels, o["kind"] in ("Deployment", "StatefulSet"), o["kind"])

    def test_streams_survive_the_way_in(self):
        ingress = only(self.all["everything"], "Ingress")
        notes = ingress["metadata"]["annotations"]
        prefix = "nginx.ingress.kubernetes.io/"
        self.assertEqual(notes[prefix + "proxy-buffering"], "off")
        # 1 h 30 min of the greatest age, and a minute.
        self.assertEqual((notes[prefix + "proxy-read-timeout"], notes[prefix + "proxy-send-timeout"]), ("5460", "5460"))
        # What people say themselves wins.
        self.assertEqual(notes[prefix + "proxy-body-size"], "64m")
        service = only(self.all["everything"], "Service")
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                self.assertEqual(path["backend"]["service"], {"name": service["metadata"]["name"], "port": {"name": "http"}})
        # HTTPRoute: https://gateway-api.sigs.k8s.io, timeouts.request "0s" is none.
        route = only(self.all["everything"], "HTTPRoute")
        self.assertEqual(route["apiVersion"], "gateway.networking.k8s.io/v1")
        self.assertEqual(set(route["spec"]), {"parentRefs", "hostnames", "rules"})
        for rule in route["spec"]["rules"]:
            self.assertEqual(set(rule), {"matches", "timeouts", "backendRefs"})
            self.assertEqual(rule["timeouts"], {"request": "0s", "backendRequest": "0s"})
            self.assertEqual(rule["backendRefs"], [
                {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}])

    def test_image(self):
        image = lambda objects: hub_pod(objects)["containers"][0]["image"]
        version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
        self.assertEqual(image(self.all["postgres"]), f"example.com/revocation-hub:{version}")
        self.assertEqual(image(self.all["sqlite"]), "example.com/revocation-hub:edge")
        self.assertRegex(image(self.all["everything"]), "^example.com/revocation-hub@sha256:[0-9a-f]{64}$")
        cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        self.assertEqual(version, cargo, "Chart.yaml and Cargo.toml name different versions")


class Monitoring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.objects = render("everything")
        names = re.findall(r'\w+: (\w+)\("([a-z0-9_]+)"', (ROOT / "src/metrics.rs").read_text())
        cls.metrics = set()
        for kind, name in names:
            name = f"revocation_hub_{name}"
            cls.metrics |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "Histogram" else {name}

    def known(self, text, place):
        for name in re.findall(r"\brevocation_hub_[a-z0-9_]+", text):
            self.assertIn(name, self.metrics, place)

    def test_service_monitor(self):
        monitor, service = only(self.objects, "ServiceMonitor"), only(self.objects, "Service")
        self.assertLessEqual(monitor["spec"]["selector"]["matchLabels"].items(), service["metadata"]["labels"].items())
        self.assertEqual(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"])
        self.assertEqual(monitor["metadata"]["labels"]["release"], "prometheus")

    def test_rules(self):
        spec = only(self.objects, "PrometheusRule")["spec"]
        self.assertEqual(spec, yaml.safe_load((CHART / "rules/revocation-hub.yaml").read_text()))
        tests = (ROOT / "tests/chart/rules_test.yaml").read_text()
        for rule in spec["groups"][0]["rules"]:
            self.known(rule["expr"], rule["alert"])
            self.known(rule["annotations"]["description"], rule["alert"])
            self.assertIn(rule["alert"], tests, "this alert has no test")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "rules.yaml").write_text(yaml.safe_dump(spec))
            (Path(folder) / "test.yaml").write_text(tests)
            for arguments in (["check", "rules", "rules.yaml"], ["test", "rules", "test.yaml"]):
                answer = subprocess.run([PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True)
                self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)

    def test_dashboard(self):
        config = only(self.objects, "ConfigMap", "hub-dashboard")
        self.assertEqual(config["metadata"]["labels"]["grafana_dashboard"], "1")
        board = json.loads(config["data"]["revocation-hub.json"])
        ids = [panel["id"] for panel in board["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        with tempfile.TemporaryDirectory() as folder:
            rules = []
            for panel in board["panels"]:
                for target in panel.get("targets", []):
                    self.known(target["expr"], panel["title"])
                    self.assertEqual(target["datasource"]["uid"], "${datasource}")
                    # promtool reads PromQL of rules; the variables of Grafana stand where text does.
                    expr = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")
                    rules.append({"record": f"panel:{panel['id']}", "expr": expr})
            self.assertGreater(len(rules), 20)
            (Path(folder) / "board.yaml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
            answer = subprocess.run([PROMTOOL, "check", "rules", "--lint=none", "board.yaml"], cwd=folder, capture_output=True,
                                    text=True)
            self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
        shown = {"head", "streams", "live_revocations", "feed_age_milliseconds", "commit_seconds_bucket", "parked_messages",
                 "link_up", "outlet_lag_positions", "admissions_refused_total"}
        text = json.dumps(board)
        self.assertEqual({name for name in shown if f"revocation_hub_{name}" not in text}, set())


class Hub(unittest.TestCase):
    """The hub is asked what it thinks of the rendered configuration and commands."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def place(self, text):
        """What is mounted in the pod is in a folder here."""
        for path in ("/run/secrets", "/run/files", "/var/lib", "/etc/revocation-hub"):
            text = text.replace(path, f"{self.folder}{path}")
        return text

    def mount(self, path, content="not-a-real-secret"):
        file = Path(self.place(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def configuration(self, objects, name):
        text = only(objects, "ConfigMap", name)["data"]["revocation-hub.toml"]
        for i, path in enumerate(sorted(set(re.findall(r'"(/run/(?:secrets|files)/[^"]+)"', text)))):
            content = f"not-a-real-secret-{i}"
            if "database" in path:
                content = "postgres://hub:secret@localhost/hub"
            elif path.endswith("keys.json"):
                content = (ROOT / "tests/api/keys.json").read_text()
            self.mount(path, content)
        return self.mount("/etc/revocation-hub/revocation-hub.toml", self.place(text))

    def hub(self, *arguments, **environment):
        return subprocess.run([HUB, *map(str, arguments)], capture_output=True, text=True, cwd=self.folder,
                              env={"PATH": "/usr/bin:/bin", **environment}, timeout=60)

    def test_the_hub_accepts_the_configuration(self):
        for name in SETS:
            file = self.configuration(render(name), "hub" if name == "everything" else "hub-revocation-hub")
            answer = self.hub("config", "check", file)
            self.assertEqual(answer.returncode, 0, answer.stderr)

    def test_a_revocation_goes_from_post_to_stream(self):
        """The containers of the pods, one after the other, on this machine: init, hub, and those of `helm test`."""
        port = free_port()
        objects = render("sqlite", listenAddress="127.0.0.1", containerPort=port)
        pod = hub_pod(objects)
        config = self.configuration(objects, "hub-revocation-hub")
        Path(self.place("/var/lib/revocation-hub")).mkdir(parents=True)

        def command(container):
            environment = {e["name"]: self.place(e["value"]) for e in container.get("env", [])}
            environment.pop("REVOCATION_HUB_URL", None)
            return [self.place(a) for a in container["args"]], environment

        serve = command(pod["containers"][0])[0]
        self.assertEqual(serve[-1], str(config))
        # Without the init container the hub refuses, because it may not migrate.
        refused = self.hub(*serve)
        self.assertNotEqual(refused.returncode, 0)
        arguments, environment = command(pod["initContainers"][0])
        migrated = self.hub(*arguments, **environment)
        self.assertEqual(migrated.returncode, 0, migrated.stderr)
        with open(self.folder / "log", "w") as log:
            hub = subprocess.Popen([HUB, *serve], cwd=self.folder, stderr=log, env={"PATH": "/usr/bin:/bin"})
        self.addCleanup(hub.wait)
        self.addCleanup(hub.send_signal, signal.SIGKILL)
        url = f"http://127.0.0.1:{port}"
        self.ready(hub, url + "/readyz")

        test = {c["name"]: c for c in only(objects, "Pod")["spec"]["containers"]}
        # The file of the Secret that the pod of the test mounts is the one that the hub's client has.
        password = Path(self.place("/run/secrets/revocation-hub/hub-clients/all")).read_text()
        self.mount("/run/secrets/revocation-hub-test/all", password)
        self.assertEqual(only(objects, "Pod")["spec"]["volumes"][0]["secret"]["secretName"], "hub-clients")
        arguments, environment = command(test["watch"])
        watch = subprocess.Popen([HUB, *arguments], stdout=subprocess.PIPE, text=True,
                                 env={"PATH": "/usr/bin:/bin", "REVOCATION_HUB_URL": url, **environment})
        self.addCleanup(watch.stdout.close)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        # It is on the stream before anything is revoked, and another revocation is not what it waits for.
        self.assertIn("hello", watch.stdout.readline())
        other = self.hub("revoke", "--jti", "another", "--ttl", "5m", REVOCATION_HUB_URL=url, **environment)
        self.assertEqual(other.returncode, 0, other.stderr)
        while "another" not in watch.stdout.readline():
            pass
        self.assertIsNone(watch.poll())
        arguments, environment = command(test["revoke"])
        revoked = self.hub(*arguments, REVOCATION_HUB_URL=url, **environment)
        self.assertEqual(revoked.returncode, 0, revoked.stderr)
        self.assertEqual(watch.wait(timeout=60), 0)
        hub.terminate()
        self.assertEqual(hub.wait(timeout=60), 0, (self.folder / "log").read_text())

    def ready(self, hub, url):
        for _ in range(600):
            self.assertIsNone(hub.poll(), (self.folder / "log").read_text())
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        self.fail("the hub does not become ready")


class Server(unittest.TestCase):
    """What is for machines without Kubernetes."""

    def test_compose_has_no_password(self):
        compose = yaml.safe_load((ROOT / "integrations/container/compose.yaml").read_text())
        for name, service in compose["services"].items():
            for key in (service.get("environment") or {}):
                if re.search("PASS|SECRET|TOKEN", key.upper()):
                    self.assertTrue(key.endswith("_FILE"), f"{name}: {key}")
            for secret in service.get("secrets", []):
                self.assertIn(secret if isinstance(secret, str) else secret["source"], compose["secrets"])
        hub = compose["services"]["hub"]
        self.assertIs(hub["read_only"], True)
        self.assertEqual(hub["cap_drop"], ["ALL"])
        self.assertTrue(all(set(secret) == {"file"} for secret in compose["secrets"].values()))

    def test_configurations_are_accepted(self):
        for path in ("integrations/container/hub.toml", "integrations/systemd/revocation-hub.toml"):
            text = (ROOT / path).read_text()
            with tempfile.TemporaryDirectory() as folder:
                for i, secret in enumerate(sorted(set(re.findall(r'_file = "([^"]+)"', text)))):
                    file = Path(folder) / str(i)
                    file.write_text("postgres://hub@db/hub" if "url" in secret else f"not-a-real-secret-{i}")
                    text = text.replace(f'"{secret}"', f'"{file}"')
                config = Path(folder) / "hub.toml"
                config.write_text(text)
                answer = subprocess.run([HUB, "config", "check", config], capture_output=True, text=True,
                                        env={"PATH": "/usr/bin:/bin", "CREDENTIALS_DIRECTORY": folder})
                self.assertEqual(answer.returncode, 0, f"{path}: {answer.stderr}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write-schema"]:
        (CHART / "values.schema.json").write_text(schema.text(HUB))
    else:
        unittest.main(verbosity=1)
