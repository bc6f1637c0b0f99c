"""Renders the chart in several ways and looks at what comes out; started by ./scripts/chart-test.

Nothing here needs a cluster: what Kubernetes knows is checked against its schemas, the rules by promtool. What the rendered
commands do is tried in live_test.py, the network policies are in policy_test.py, resources of others in kinds_test.py.
"""

import copy
import json
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
import unittest
from pathlib import Path

import kubernetes_validate
import yaml

import schema
from chart import CHART, FOREIGN, HUB, KUBERNETES, PROMTOOL, ROOT, SETS, VALUES, helm, hub_pod, only, pods, render, template, values


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
        # 5 s of sleep, 20 s of grace, 6 s for links, three times 5 s for the store.
        self.refused("terminationGracePeriodSeconds is 45, but preStopSleepSeconds, config.shutdown.grace, 6 s for sources and "
                     "outlets and three times config.store.timeout need 46", values("postgres", terminationGracePeriodSeconds=45))
        self.refused("need 61", values("postgres", terminationGracePeriodSeconds=60, config={"store": {"timeout": "10s"}}))
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

    def test_the_environment_is_no_way_around(self):
        env = lambda **more: values("postgres", extraEnv=[{"name": "RUST_BACKTRACE", "value": "1"}, more])
        for name in ("REVOCATION_HUB_LISTEN", "REVOCATION_HUB_DATABASE_URL", "REVOCATION_HUB_CLIENTS", "REVOCATION_HUB_URL"):
            self.refused(f"extraEnv: {name} would be stronger", env(name=name, value="x"))
            reference = {"secretKeyRef": {"name": "a", "key": "b"}}
            self.refused(f"extraEnv: {name} would be stronger", env(name=name, valueFrom=reference))
        for name in ("PGPASSWORD", "API_KEY", "MY_TOKEN", "client_secret"):
            self.refused(f"extraEnv: {name} looks like a secret", env(name=name, value="hunter2"))
            render("postgres", extraEnv=[{"name": name, "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}])
        self.refused("the URL in HTTPS_PROXY contains a password", env(name="HTTPS_PROXY", value="http://me:hunter2@proxy:3128"))
        render("postgres", extraEnv=[{"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
                                     {"name": "PGPASSFILE", "value": "/run/files/x"}])
        # Lists that are no use to the API server either.
        self.refused("dditional propert", env(name="A", vale="x"))

    def test_volumes_stay_within_the_restricted_profile(self):
        for kind in ("hostPath", "nfs", "iscsi"):
            self.refused("dditional propert", values("postgres", extraVolumes=[{"name": "a", kind: {"path": "/"}}]))
        for name in ("config", "database", "secret-0", "tmp"):
            self.refused(f"the name {name} is the chart's own", values("postgres", extraVolumes=[{"name": name, "emptyDir": {}}]))
        for path in ("/", "/etc/revocation-hub", "/run/secrets/revocation-hub/hub-clients", "/usr/local/bin/",
                     "/run/secrets/revocation-hub-database", "/var/lib/../lib/revocation-hub"):
            self.refused("would hide what the chart or the image has there", values(
                "postgres", extraVolumes=[{"name": "a", "emptyDir": {}}], extraVolumeMounts=[{"name": "a", "mountPath": path}]))
        render("postgres", extraVolumes=[{"name": "a", "csi": {"driver": "x"}}],
               extraVolumeMounts=[{"name": "a", "mountPath": "/etc/ssl/own"}])

    def test_labels_of_the_chart_stay(self):
        for place in ("commonLabels", "podLabels"):
            self.refused(f"{place}: app.kubernetes.io/name is the chart's own",
                         values("postgres", **{place: {"app.kubernetes.io/name": "other"}}))

    def test_a_budget_that_keeps_nothing(self):
        self.refused("podDisruptionBudget.maxUnavailable is 2 of 2 pods", values("postgres", podDisruptionBudget={"maxUnavailable": 2}))
        render("postgres", replicas=3, podDisruptionBudget={"maxUnavailable": 2})

    def test_files_that_nothing_mounts(self):
        self.refused("config.clients[0].bearer.token_file: nothing is mounted at", values("postgres", secretFiles=[]))

    def test_what_a_policy_would_cut_off(self):
        self.refused("networkPolicy.egress.database.peers is empty",
                     values("postgres", networkPolicy={"egress": {"database": {"peers": []}}}))
        self.refused("others", values("postgres", networkPolicy={"egress": {"others": [{"peers": [], "ports": [5672]}]}}))

    def test_a_peer_that_is_nobody(self):
        for peer in ({}, {"podselector": {}}):
            self.refused("clients", values("postgres", networkPolicy={"ingress": {"clients": [peer]}}))

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
                    self.assertFalse({"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(pod))
                    self.assertFalse([p for c in pod["containers"] for p in c.get("ports", []) if "hostPort" in p])
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
        self.assertEqual(grace(), 51)
        self.assertEqual(grace(preStopSleepSeconds=0), 46)
        self.assertEqual(grace(config={"shutdown": {"grace": "1m 500ms"}}), 92)
        self.assertEqual(grace(config={"shutdown": {"grace": 40}}), 71)
        self.assertEqual(grace(config={"store": {"timeout": "1500ms"}}), 42)
        self.assertEqual(grace(terminationGracePeriodSeconds=46), 46)
        self.assertEqual(hub_pod(self.all["everything"])["terminationGracePeriodSeconds"], 90)
        # What the chart says is what the hub does when nobody says anything.
        defaults = schema.Hub(HUB).defaults
        chart = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
        self.assertEqual(chart["shutdown"], defaults["shutdown"])
        self.assertEqual(chart["streams"]["max_age"], defaults["streams"]["max_age"])
        self.assertEqual(defaults["store"]["timeout"], "5s", "the chart counts with this one when nothing is said")
        links = re.search(r"LINKS_GRACE: Duration = Duration::from_secs\((\d+)\)", (ROOT / "src/lifecycle.rs").read_text())
        self.assertEqual(links[1], "6", "the chart counts with this one: revocation-hub.leastGrace")

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

    def test_scaling(self):
        self.assertEqual(only(self.all["postgres"], "PodDisruptionBudget")["spec"]["maxUnavailable"], 1)
        self.assertFalse([o for o in self.all["sqlite"] + render("postgres", replicas=1) if o["kind"] == "PodDisruptionBudget"])
        self.assertEqual(only(self.all["postgres"], "Deployment")["spec"]["replicas"], 2)
        # The autoscaler's number would be undone by each upgrade.
        self.assertNotIn("replicas", only(self.all["everything"], "Deployment")["spec"])
        scaler = only(self.all["everything"], "HorizontalPodAutoscaler")["spec"]
        self.assertEqual(scaler["metrics"][0]["pods"]["metric"]["name"], "revocation_hub_streams")
        self.assertIn('("streams")', (ROOT / "src/metrics.rs").read_text(), "the hub has no such metric")
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

    def test_the_example_of_the_documentation(self):
        text = (ROOT / "docs/kubernetes.md").read_text()
        example = yaml.safe_load(textwrap.dedent(text.split("`values.yaml` of your own:\n\n")[1].split("\nThen\n")[0]))
        answer = template(example)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        objects = [o for o in yaml.safe_load_all(answer.stdout) if o]
        # The Secrets that the text before it makes are those that it uses.
        made = set(re.findall(r"create secret generic (\S+)", text))
        used = {v["secret"]["secretName"] for _, pod in pods(objects) for v in pod["volumes"] if "secret" in v}
        self.assertEqual(used, made)

    def test_image(self):
        image = lambda objects: hub_pod(objects)["containers"][0]["image"]
        version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
        self.assertEqual(image(self.all["postgres"]), f"example.com/revocation-hub:{version}")
        self.assertEqual(image(self.all["sqlite"]), "example.com/revocation-hub:edge")
        self.assertRegex(image(self.all["everything"]), "^example.com/revocation-hub@sha256:[0-9a-f]{64}$")
        cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        self.assertEqual(version, cargo, "Chart.yaml and Cargo.toml name different versions")


class Notes(unittest.TestCase):
    """What Helm prints after an installation. `helm template` leaves it out, so a copy of the chart has it as an object."""

    def notes(self, name, **change):
        with tempfile.TemporaryDirectory() as folder:
            chart = Path(folder) / "chart"
            shutil.copytree(CHART, chart)
            shutil.copy(chart / "templates/NOTES.txt", chart / "notes")
            (chart / "templates/notes.yaml").write_text(
                'kind: Notes\nmetadata: { name: notes }\ntext: {{ tpl (.Files.Get "notes") . | toJson }}\n')
            return only(render(name, chart=chart, **change), "Notes")["text"]

    def test_they_say_what_is_missing(self):
        text = self.notes("postgres")
        self.assertIn("http://hub-revocation-hub.identity.svc:8080", text)
        self.assertIn("rollout status deployment/hub-revocation-hub", text)
        self.assertNotIn("nobody can reach the hub", text)
        self.assertNotIn("helm test", text)
        self.assertIn("nobody can reach the hub", self.notes("postgres", networkPolicy={"ingress": {"clients": []}}))
        self.assertIn("There is one hub", self.notes("postgres", replicas=1))
        text = self.notes("everything")
        self.assertIn("/apis/custom.metrics.k8s.io/v1beta1/namespaces/identity/pods/*/revocation_hub_streams", text)
        self.assertIn("helm test -n identity hub", text)
        self.assertIn("rollout status statefulset/", self.notes("sqlite"))
        # A custom metric that the adapter is told to serve.
        self.assertIn("revocation_hub_streams{", (ROOT / "docs/kubernetes.md").read_text())


class Tls(unittest.TestCase):
    """TLS in the pod, and the port for those who look after it."""
    tls = {"existingSecret": "hub-tls", "clients": {"existingSecret": "client-ca", "certificates": "required"}}

    def toml(self, objects):
        return tomllib.loads(only(objects, "ConfigMap", "hub-revocation-hub")["data"]["revocation-hub.toml"])

    def test_off(self):
        objects = render("postgres")
        self.assertFalse({"tls", "admin"} & set(self.toml(objects)))
        self.assertEqual(hub_pod(objects)["containers"][0]["startupProbe"]["httpGet"]["scheme"], "HTTP")

    def test_probes_without_a_port_of_their_own(self):
        objects = render("postgres", tls={"existingSecret": "hub-tls"}, serviceMonitor={"enabled": True})
        container = hub_pod(objects)["containers"][0]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertEqual((container[probe]["httpGet"]["port"], container[probe]["httpGet"]["scheme"]), ("http", "HTTPS"))
        self.assertEqual(only(objects, "ServiceMonitor")["spec"]["endpoints"][0]["scheme"], "https")
        self.assertEqual(only(objects, "Service")["spec"]["ports"][0]["appProtocol"], "https")

    def test_everything_is_mounted_and_asked_where_it_is(self):
        peer = {"podSelector": {"matchLabels": {"app": "prometheus"}}}
        objects = render("postgres", tls=self.tls, admin={"port": 9090}, serviceMonitor={"enabled": True},
                         networkPolicy={"ingress": {"clients": [], "monitoring": [peer]}})
        pod, toml = hub_pod(objects), self.toml(objects)
        container = pod["containers"][0]
        mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
        secrets = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        for setting, secret in (("certificate_file", "hub-tls"), ("key_file", "hub-tls"), ("client_ca_file", "client-ca")):
            self.assertEqual(secrets[mounts[str(Path(toml["tls"][setting]).parent)]], secret)
        self.assertEqual(toml["tls"]["client_certificates"], "required")
        self.assertEqual(toml["admin"], {"listen": ["0.0.0.0:9090"], "tls": False})
        self.assertIn({"name": "admin", "containerPort": 9090}, container["ports"])
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertEqual((container[probe]["httpGet"]["port"], container[probe]["httpGet"]["scheme"]), ("admin", "HTTP"))
        service = only(objects, "Service", "hub-revocation-hub-admin")
        monitor = only(objects, "ServiceMonitor")["spec"]
        self.assertLessEqual(monitor["selector"]["matchLabels"].items(), service["metadata"]["labels"].items())
        other = only(objects, "Service", "hub-revocation-hub")
        self.assertFalse(monitor["selector"]["matchLabels"].items() <= other["metadata"]["labels"].items(), "asked twice")
        self.assertEqual(monitor["endpoints"][0]["port"], service["spec"]["ports"][0]["name"])
        self.assertEqual((service["spec"]["clusterIP"], other["spec"]["ports"][0]["name"]), ("None", "http"))
        self.assertEqual(len(other["spec"]["ports"]), 1, "what is reachable from outside has no other port")
        policy = only(objects, "NetworkPolicy", "hub-revocation-hub")["spec"]["ingress"]
        self.assertEqual(policy, [{"from": [peer], "ports": [{"protocol": "TCP", "port": "admin"}]}])
        for o in objects:
            if o["kind"] not in FOREIGN:
                for version in KUBERNETES:
                    kubernetes_validate.validate(copy.deepcopy(o), version, strict=True)

    def test_refused(self):
        for text, given in (
            ("tls.clients.existingSecret needs tls.existingSecret", {"tls": {"clients": {"existingSecret": "a"}}}),
            ("probes have no certificate", {"tls": self.tls}),
            ("helm test has no certificate", {"tls": self.tls, "admin": {"port": 9090}, "test": {"existingSecret": "t"}}),
            ("admin.port and containerPort are the same", {"admin": {"port": 8080}}),
        ):
            answer = template(values("postgres", **given))
            self.assertNotEqual(answer.returncode, 0, text)
            self.assertIn(text, " ".join(answer.stderr.split()))

    def test_the_test_believes_the_authority(self):
        pod = only(render("postgres", tls={"existingSecret": "hub-tls"}, test={"existingSecret": "t"}), "Pod")["spec"]
        env = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
        self.assertTrue(env["REVOCATION_HUB_URL"].startswith("https://"))
        self.assertEqual(env["REVOCATION_HUB_CA_FILE"], "/run/secrets/revocation-hub-ca/ca.crt")
        ca = next(v["secret"] for v in pod["volumes"] if v["name"] == "ca")
        self.assertEqual((ca["secretName"], ca["items"]), ("hub-tls", [{"key": "ca.crt", "path": "ca.crt"}]))


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
            # In words a histogram goes by its own name; that expressions hit something is shown by a real Prometheus.
            self.assertTrue({name, f"{name}_bucket"} & self.metrics, f"{place}: {name}")

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
        shown = {"head", "streams", "live_revocations", "feed_age_seconds", "committed_to_written_seconds_bucket", "parked_messages",
                 "link_up", "outlet_lag_positions", "admissions_refused_total"}
        text = json.dumps(board)
        self.assertEqual({name for name in shown if f"revocation_hub_{name}" not in text}, set())


if __name__ == "__main__":
    if sys.argv[1:] == ["--write-schema"]:
        (CHART / "values.schema.json").write_text(schema.text(HUB))
    else:
        unittest.main(verbosity=1)
