"""What the chart renders, run: the configuration, the commands of the migration, of the hub and of `helm test`, the probes."""

import os
import re
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import proxies
from chart import HUB, ROOT, SETS, arguments, free_port, hub_pod, only, render

# Where no test may hang: long for a machine that is busy with other things.
LONG = 120


class Live(unittest.TestCase):
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

    def configuration(self, objects, database="postgres://hub:secret@localhost/hub"):
        """Writes the file that the hub's pod mounts, and the Secrets that it names."""
        name = next(v for v in hub_pod(objects)["volumes"] if v["name"] == "config")["configMap"]["name"]
        text = only(objects, "ConfigMap", name)["data"]["revocation-hub.toml"]
        for i, path in enumerate(sorted(set(re.findall(r'"(/run/(?:secrets|files)/[^"]+)"', text)))):
            content = f"not-a-real-secret-{i}"
            if "database" in path:
                content = database
            elif path.endswith("keys.json"):
                content = (ROOT / "tests/api/keys.json").read_text()
            self.mount(path, content)
        return self.mount("/etc/revocation-hub/revocation-hub.toml", self.place(text))

    def run_container(self, container, url=None, **fields):
        """Runs a container's command to its end."""
        args, environment = arguments(container, **fields)
        environment = {name: self.place(value) for name, value in environment.items()}
        if url:
            environment["REVOCATION_HUB_URL"] = url
        return self.hub(*[self.place(a) for a in args], **environment)

    def hub(self, *args, **environment):
        return subprocess.run([HUB, *map(str, args)], capture_output=True, text=True, cwd=self.folder,
                              env={"PATH": "/usr/bin:/bin", **environment}, timeout=LONG)

    def serve(self, objects):
        """Starts the hub's container, waits until the probes of its pod succeed, and returns the process and the address."""
        container = hub_pod(objects)["containers"][0]
        args, environment = arguments(container)
        log = open(self.folder / "log", "w")
        self.addCleanup(log.close)
        hub = subprocess.Popen([HUB, *[self.place(a) for a in args]], cwd=self.folder, stderr=log,
                               env={"PATH": "/usr/bin:/bin", **environment})
        self.addCleanup(hub.wait)
        self.addCleanup(hub.send_signal, signal.SIGKILL)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            ask = container[kind]["httpGet"]
            url = f"http://127.0.0.1:{ports[ask['port']]}"
            self.succeeds(hub, url + ask["path"])
        return hub, url

    def succeeds(self, hub, url):
        for _ in range(LONG * 10):
            self.assertIsNone(hub.poll(), (self.folder / "log").read_text())
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        self.fail(f"{url} never succeeds")

    def ends(self, hub):
        hub.terminate()
        self.assertEqual(hub.wait(timeout=LONG), 0, (self.folder / "log").read_text())


class Commands(Live):
    def test_tls_and_a_port_for_administration(self):
        tls = {"existingSecret": "hub-tls", "clients": {"existingSecret": "client-ca"}}
        file = self.configuration(render("postgres", tls=tls, admin={"port": 9090}))
        certificate, key = (self.mount(f"/run/secrets/revocation-hub-tls/tls.{end}") for end in ("crt", "key"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=hub", "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.mount("/run/secrets/revocation-hub-client-ca/ca.crt", certificate.read_text())
        answer = self.hub("config", "check", file)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertIn("0.0.0.0:8080 with TLS", answer.stdout)
        self.assertIn("administration on 0.0.0.0:9090\n", answer.stdout)

    def test_the_hub_accepts_the_configuration(self):
        for name in SETS:
            answer = self.hub("config", "check", self.configuration(render(name)))
            self.assertEqual(answer.returncode, 0, answer.stderr)

    def test_a_revocation_goes_from_post_to_stream(self):
        """The containers of the pods, one after the other, on this machine: init, hub, and that of `helm test`."""
        objects = render("sqlite", listenAddress="127.0.0.1", containerPort=free_port(),
                         ingress={"enabled": True, "hosts": [{"host": "hub.example.com"}]})
        self.configuration(objects)
        Path(self.place("/var/lib/revocation-hub")).mkdir(parents=True)
        # Without the init container the hub refuses, because it may not migrate.
        refused = self.hub(*[self.place(a) for a in arguments(hub_pod(objects)["containers"][0])[0]])
        self.assertNotEqual(refused.returncode, 0)
        # Each pod runs it, also when nothing is left to do.
        for _ in range(2):
            migrated = self.run_container(hub_pod(objects)["initContainers"][0])
            self.assertEqual(migrated.returncode, 0, migrated.stderr)
        hub, url = self.serve(objects)

        pod = only(objects, "Pod")["spec"]
        test = pod["containers"][0]
        # The file of the Secret that the pod of the test mounts is the one that the hub's client has.
        self.assertEqual(pod["volumes"][0]["secret"]["secretName"], "hub-clients")
        password = Path(self.place("/run/secrets/revocation-hub/hub-clients/all")).read_text()
        self.mount("/run/secrets/revocation-hub-test/all", password)
        uid = str(uuid.uuid4())
        passed = self.run_container(test, url, uid=uid)
        self.assertEqual(passed.returncode, 0, passed.stderr)
        self.assertIn("seen on the event stream", passed.stdout)
        # The same pod again would prove nothing, because what was revoked already does not come again; so it fails.
        again = self.run_container(test, url, uid=uid)
        self.assertNotEqual(again.returncode, 0)
        self.assertIn("unchanged", again.stderr)
        # The next run is another pod.
        self.assertEqual(self.run_container(test, url, uid=str(uuid.uuid4())).returncode, 0)
        # A wrong password, and nobody there.
        self.mount("/run/secrets/revocation-hub-test/all", "wrong")
        self.assertIn("401", self.run_container(test, url, uid=str(uuid.uuid4())).stderr)
        self.mount("/run/secrets/revocation-hub-test/all", password)
        gone = self.run_container(test, f"http://127.0.0.1:{free_port()}", uid=str(uuid.uuid4()))
        self.assertEqual(gone.returncode, 69, gone.stderr)

        with self.subTest("a stream that is held back"):
            quick = test | {"args": ["3s" if a == "60s" else a for a in test["args"]]}
            for passed_on in (b"\r\n\r\n", b"event: hello"):
                with proxies.holding_back(url, after=passed_on) as held:
                    failed = self.run_container(quick, held, uid=str(uuid.uuid4()))
                self.assertEqual(failed.returncode, 69, failed.stdout + failed.stderr)
                self.assertIn("within 3s", failed.stderr)
        with self.subTest("through nginx, as the Ingress configures it"):
            with proxies.nginx(only(objects, "Ingress"), url, self.folder / "nginx") as ingress:
                through = self.run_container(test, ingress, uid=str(uuid.uuid4()))
            self.assertEqual(through.returncode, 0, through.stderr)
        self.ends(hub)

    def test_readiness_is_stricter_than_liveness(self):
        """A hub whose database does not answer lives and is not ready."""
        port = free_port()
        objects = render("postgres", listenAddress="127.0.0.1", containerPort=port)
        self.configuration(objects, f"postgres://hub@127.0.0.1:{free_port()}/hub")
        container = hub_pod(objects)["containers"][0]
        log = open(self.folder / "log", "w")
        self.addCleanup(log.close)
        hub = subprocess.Popen([HUB, *[self.place(a) for a in arguments(container)[0]]], cwd=self.folder, stderr=log,
                               env={"PATH": "/usr/bin:/bin"})
        self.addCleanup(hub.wait)
        self.addCleanup(hub.send_signal, signal.SIGKILL)
        url = f"http://127.0.0.1:{port}"
        for kind in ("startupProbe", "livenessProbe"):
            self.succeeds(hub, url + container[kind]["httpGet"]["path"])
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url + container["readinessProbe"]["httpGet"]["path"], timeout=LONG)
        self.assertEqual(refused.exception.code, 503)
        refused.exception.close()
        self.ends(hub)


class Job(Live):
    """The migration Job with a user of its own, against a real Postgres: the hub's user owns nothing."""

    def setUp(self):
        super().setUp()
        self.postgres = os.environ["TEST_POSTGRES_URL"]
        tag = uuid.uuid4().hex[:12]
        self.database, self.owner, self.user = f"chart_{tag}", f"hub_owner_{tag}", f"hub_{tag}"
        self.sql(f"create role {self.owner} login; create role {self.user} login")
        self.addCleanup(self.sql, f"drop role {self.owner}; drop role {self.user}")
        self.sql(f"create database {self.database} owner {self.owner}")
        self.addCleanup(self.sql, f"drop database {self.database} with (force)")

    def url(self, role):
        return re.sub(r"//[^@]*@([^/]*)/.*", rf"//{role}@\1/{self.database}", self.postgres)

    def sql(self, text, url=None):
        # One statement each, because databases are not made in a transaction.
        commands = [a for statement in text.split(";") if statement.strip() for a in ("-c", statement)]
        answer = subprocess.run(["psql", "-qAt", "-v", "ON_ERROR_STOP=1", *commands, url or self.postgres], text=True,
                                capture_output=True, timeout=LONG)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        return answer.stdout

    def test_it_migrates_and_the_hub_needs_no_more_than_rows(self):
        objects = render("postgres", listenAddress="127.0.0.1", containerPort=free_port(),
                         migrations={"mode": "job", "existingSecret": "hub-owner", "key": "owner"},
                         config={"clients": [{"name": "all", "scopes": ["publish", "read"], "bearer": {
                             "token_file": "/run/secrets/revocation-hub/hub-clients/sts"}}]},
                         test={"existingSecret": "hub-clients", "key": "sts"})
        self.configuration(objects, self.url(self.user))
        job = only(objects, "Job")["spec"]["template"]["spec"]["containers"][0]
        self.assertEqual([m["mountPath"] for m in job["volumeMounts"] if m["name"] == "migrations"],
                         ["/run/secrets/revocation-hub-migrations"])
        # A Job that cannot do its work says so, and the release fails before a pod is touched.
        self.mount("/run/secrets/revocation-hub-migrations/owner", self.url(self.user))
        failed = self.run_container(job)
        self.assertNotEqual(failed.returncode, 0, failed.stdout)
        # What the documentation says about the two users is what is done here.
        self.mount("/run/secrets/revocation-hub-migrations/owner", self.url(self.owner))
        text = (ROOT / "docs/kubernetes.md").read_text()
        grants = re.search(r"    (alter default privileges[^`]*?;)\n\n", text, re.DOTALL)[1]
        self.sql(grants.replace("hub_owner", self.owner).replace(" hub;", f" {self.user};"), self.url(self.owner))
        for _ in range(2):
            migrated = self.run_container(job)
            self.assertEqual(migrated.returncode, 0, migrated.stderr)
        hub, url = self.serve(objects)
        token = Path(self.place("/run/secrets/revocation-hub/hub-clients/sts")).read_text()
        self.mount("/run/secrets/revocation-hub-test/sts", token)
        passed = self.run_container(only(objects, "Pod")["spec"]["containers"][0], url, uid=str(uuid.uuid4()))
        self.assertEqual(passed.returncode, 0, passed.stderr)
        owners = self.sql("select distinct tableowner from pg_tables where schemaname = 'public'", self.url(self.owner))
        self.assertEqual(owners.split(), [self.owner])
        self.ends(hub)
