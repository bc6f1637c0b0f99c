"""The packages without Kubernetes: image, compose file, systemd unit, crate. Started by ./scripts/package-test.

No container runs here. The image's files are made by the very command of the Dockerfile, and the hub is started in them as the
image starts it: not root, a root that is read-only, nothing else there.
"""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import tomllib
import unittest
import urllib.request
from pathlib import Path

from dockerfile_parse import DockerfileParser
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
HUB = Path(os.environ["HUB"]).resolve()
TOOLS = Path(os.environ["TOOLS"])
CONTAINER = ROOT / "integrations/container"
UNIT = ROOT / "integrations/systemd/revocation-hub.service"
CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text())
# Where no test may hang.
LONG = 120


def run(*command, **more):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=LONG, **more)


def embedded():
    """What the sources take in when they are built, relative to the root."""
    for source in (ROOT / "src").rglob("*.rs"):
        for path in re.findall(r'include(?:_str|_bytes)?!\(\s*"([^"]+)"', source.read_text()):
            yield (source.parent / path).resolve().relative_to(ROOT)


def seconds_to_end():
    """What a hub takes at most to end, with its defaults: see revocation-hub.leastGrace of the chart."""
    defaults = tomllib.loads((ROOT / "src/config/default.toml").read_text())
    seconds = lambda text: int(re.fullmatch(r"(\d+)s", text)[1])
    links = int(re.search(r"LINKS_GRACE: Duration = Duration::from_secs\((\d+)\)", (ROOT / "src/lifecycle.rs").read_text())[1])
    return seconds(defaults["shutdown"]["grace"]) + links + 3 * seconds(defaults["store"]["timeout"])


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            cls.steps = DockerfileParser(path=folder)
            cls.steps.content = (CONTAINER / "Dockerfile").read_text()
            cls.steps = [(s["instruction"], s["value"]) for s in cls.steps.structure if s["instruction"] != "COMMENT"]

    def of(self, instruction, part=slice(None)):
        return [value for name, value in self.steps[part] if name == instruction]

    def test_lint(self):
        answer = run(TOOLS / "hadolint", "--failure-threshold=info", CONTAINER / "Dockerfile")
        self.assertEqual(answer.returncode, 0, answer.stdout)

    def test_the_last_stage_is_empty_but_for_what_was_put_together(self):
        last = max(i for i, (name, _) in enumerate(self.steps) if name == "FROM")
        self.assertEqual(self.steps[last][1], "scratch")
        part = slice(last, None)
        self.assertEqual(self.of("COPY", part), ["--from=build /image /"])
        self.assertFalse(self.of("RUN", part) + self.of("ADD"))
        self.assertEqual(self.of("USER", part), ["65532:65532"])
        self.assertEqual(self.of("ENTRYPOINT", part), ['["revocation-hub"]'])
        self.assertRegex(self.of("HEALTHCHECK", part)[0], r'CMD \["revocation-hub", "healthcheck"\]$')

    def test_it_is_built_as_everything_else_is(self):
        rust = re.match(r"rust:([\d.]+)-slim-\w+ AS build", self.of("FROM")[0])
        self.assertEqual(rust[1], CARGO["package"]["rust-version"])
        self.assertIn("cargo build --release --locked --bin revocation-hub", self.of("RUN")[0])

    def test_what_the_build_reads_is_in_its_context(self):
        lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
        self.assertEqual(lines[0], "*")
        allowed = {line.removeprefix("!") for line in lines[1:]}
        for name in allowed:
            self.assertTrue((ROOT / name).exists(), name)
        needed = {path.parts[0] for path in embedded()} | {"Cargo.toml", "Cargo.lock", "src", CARGO["package"]["readme"]}
        self.assertLessEqual(needed, allowed)

    @unittest.skipIf(run("unshare", "--mount", "true").returncode, "this place does not let us mount anything")
    def test_the_hub_runs_in_the_image_s_files(self):
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder) / "image"
            command = re.sub(r"(?<!/image)/usr/local/bin/revocation-hub", str(HUB), self.of("RUN")[1]).replace("/image/", f"{image}/")
            command = re.sub(r"/image(?=;)", str(image), command)
            made = run("/bin/bash", "-euo", "pipefail", "-c", command)
            self.assertEqual(made.returncode, 0, made.stderr)
            self.assertFalse([f for f in image.rglob("*") if f.name in ("sh", "bash", "busybox", "apt", "dpkg")])
            libraries = [f.name for f in image.rglob("*.so*")]
            self.assertIn("libc.so.6", libraries)
            # Not root, and a root that is read-only; the volume is writable, as in the image.
            data = image / "var/lib/revocation-hub"
            self.assertEqual((data.stat().st_uid, data.stat().st_gid), (65532, 65532))
            enter = 'mount --bind "$0" "$0" && mount -t tmpfs -o uid=65532,gid=65532,mode=700 none "$0/var/lib/revocation-hub" && ' \
                    'mount -o remount,bind,ro "$0" && exec chroot --userspec=65532:65532 "$0" "$@"'
            inside = ["unshare", "--mount", "/bin/sh", "-c", enter, str(image), "/usr/local/bin/revocation-hub"]
            environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
            version = run(*inside, "--version", env=environment)
            self.assertEqual(version.stdout.strip(), f"revocation-hub {CARGO['package']['version']}", version.stderr)
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                port = s.getsockname()[1]
            listen = f"127.0.0.1:{port}"
            hub = subprocess.Popen([*inside, "serve", "--listen", listen, "--database-url", "sqlite:///var/lib/revocation-hub/hub.db"],
                                   env=environment, stderr=subprocess.PIPE, text=True)
            try:
                for _ in range(LONG * 5):
                    healthy = run(*inside, "healthcheck", "--url", f"http://{listen}", env=environment)
                    if healthy.returncode == 0 or hub.poll() is not None:
                        break
                    time.sleep(0.2)
                self.assertEqual(healthy.stdout.strip(), "ready")
                with urllib.request.urlopen(f"http://{listen}/livez", timeout=LONG):
                    pass
            finally:
                hub.send_signal(signal.SIGTERM)
                self.assertEqual(hub.wait(timeout=LONG), 0, hub.stderr.read())
                hub.stderr.close()
            self.assertEqual(run(*inside, "healthcheck", "--url", f"http://{listen}", env=environment).returncode, 1)


class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.compose = YAML(typ="safe").load(CONTAINER / "compose.yaml")

    def test_it_is_what_the_specification_knows(self):
        answer = run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", CONTAINER / "compose.yaml")
        self.assertEqual(answer.returncode, 0, answer.stdout)

    def test_it_has_no_password(self):
        for name, service in self.compose["services"].items():
            for key in (service.get("environment") or {}):
                if re.search("PASS|SECRET|TOKEN", key.upper()):
                    self.assertTrue(key.endswith("_FILE"), f"{name}: {key}")
            for secret in service.get("secrets", []):
                self.assertIn(secret if isinstance(secret, str) else secret["source"], self.compose["secrets"])
        self.assertTrue(all(set(secret) == {"file"} for secret in self.compose["secrets"].values()))

    def test_the_hub_may_do_nothing(self):
        hub = self.compose["services"]["hub"]
        self.assertIs(hub["read_only"], True)
        self.assertEqual((hub["cap_drop"], hub["security_opt"]), (["ALL"], ["no-new-privileges:true"]))
        self.assertTrue(all(port.startswith("127.0.0.1:") for port in hub["ports"]))
        self.assertEqual((CONTAINER / hub["build"]["context"]).resolve(), ROOT)
        self.assertTrue((ROOT / hub["build"]["dockerfile"]).is_file())
        self.assertGreaterEqual(int(hub["stop_grace_period"].removesuffix("s")), seconds_to_end())
        # Every file that the configuration names is a secret of this service.
        named = re.findall(r'"/run/secrets/([^"]+)"', (CONTAINER / "hub.toml").read_text())
        self.assertEqual(set(named), set(hub["secrets"]))

    def test_secrets_are_made_as_it_says(self):
        """The commands at its head make exactly the files that it names."""
        lines = (CONTAINER / "compose.yaml").read_text().splitlines()
        commands = "\n".join(l.removeprefix("#   ") for l in lines if l.startswith("#   ") and "docker" not in l)
        with tempfile.TemporaryDirectory() as folder:
            made = run("/bin/sh", "-euc", commands, cwd=folder)
            self.assertEqual(made.returncode, 0, made.stderr)
            files = {f"./secrets/{f.name}" for f in (Path(folder) / "secrets").iterdir()}
            self.assertEqual(files, {secret["file"] for secret in self.compose["secrets"].values()})


class Unit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = UNIT.read_text()

    def test_systemd_understands_it(self):
        with tempfile.TemporaryDirectory() as folder:
            unit = Path(folder) / UNIT.name
            unit.write_text(self.text.replace("/usr/local/bin/revocation-hub", str(HUB)))
            answer = run("systemd-analyze", "verify", "--man=no", unit)
            self.assertEqual((answer.returncode, answer.stderr), (0, ""))

    def test_it_is_confined(self):
        # Tenths: 1.4 at the time of writing. What is left is what the hub is for, the network.
        answer = run("systemd-analyze", "security", "--offline=true", "--threshold=15", UNIT)
        self.assertEqual(answer.returncode, 0, answer.stdout)

    def test_a_hub_is_not_killed_before_it_has_ended(self):
        self.assertGreaterEqual(int(re.search(r"^TimeoutStopSec=(\d+)$", self.text, re.M)[1]), seconds_to_end())

    def test_what_it_says_about_the_hub_is_so(self):
        command = re.search(r"^ExecStart=\S+ (.*)$", self.text, re.M)[1].split()
        config = ROOT / "integrations/systemd" / Path(command[-1]).name
        self.assertTrue(config.is_file())
        credentials = set(re.findall(r"^LoadCredential=([^:]+):", self.text, re.M))
        named = set(re.findall(r'"/run/credentials/revocation-hub.service/([^"]+)"', config.read_text()))
        self.assertEqual(credentials, named)
        # Exit codes after which another try does not help.
        codes = re.search(r"^RestartPreventExitStatus=(.*)$", self.text, re.M)[1].split()
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as wrong:
            wrong.write("no_such_setting = 1\n")
            wrong.flush()
            self.assertIn(str(run(HUB, "serve", "--config", wrong.name).returncode), codes)
        self.assertIn(str(run(HUB, "serve", "--no-such-option").returncode), codes)


class Configurations(unittest.TestCase):
    def test_the_hub_accepts_them(self):
        for path in (CONTAINER / "hub.toml", ROOT / "integrations/systemd/revocation-hub.toml"):
            text = path.read_text()
            with tempfile.TemporaryDirectory() as folder:
                for i, secret in enumerate(sorted(set(re.findall(r'_file = "([^"]+)"', text)))):
                    file = Path(folder) / str(i)
                    file.write_text("postgres://hub@db/hub" if "url" in secret else f"not-a-real-secret-{i}")
                    text = text.replace(f'"{secret}"', f'"{file}"')
                config = Path(folder) / "hub.toml"
                config.write_text(text)
                answer = run(HUB, "config", "check", config, env={"PATH": "/usr/bin:/bin"})
                self.assertEqual(answer.returncode, 0, f"{path}: {answer.stderr}")


class Crate(unittest.TestCase):
    """What `cargo install` gets. ./scripts/release builds from it and from nothing else."""

    def test_it_has_what_it_is_built_of_and_nothing_else(self):
        answer = run("cargo", "package", "--list", "--locked", "--allow-dirty", cwd=ROOT)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        files = set(answer.stdout.split())
        needed = {str(path) for path in embedded()} | {"Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "src/main.rs", "src/lib.rs"}
        needed |= {str(f.relative_to(ROOT)) for f in (ROOT / "src").rglob("*") if f.is_file()}
        self.assertLessEqual(needed, files)
        self.assertFalse({f for f in files if f.split("/")[0] in ("tests", "helm", "integrations", "fuzz", "benches", "docs")})


if __name__ == "__main__":
    unittest.main()
