"""What the hub is built of, the workflows, and a release of the program that the tests use: packed, signed, looked at."""

import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
import unittest
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
HUB = Path(os.environ["HUB"]).resolve()
TOOLS = Path(os.environ["TOOLS"])
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
# Where no test may hang.
LONG = 600


def run(*command, **more):
    return subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True, timeout=LONG, **more)


class Crates(unittest.TestCase):
    def test_they_are_what_deny_toml_allows(self):
        """Licences, sources, versions, and no second crypto library. Advisories need the network: ./scripts/advisories."""
        answer = run(TOOLS / "cargo-deny", "--locked", "--offline", "--color", "never", "check", "--hide-inclusion-graph",
                     "bans", "licenses", "sources")
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
        # An exception that nothing needs any more is one too many.
        self.assertNotIn("warning", answer.stdout + answer.stderr)

    def test_the_bill_of_materials_says_what_the_lock_file_says(self):
        answer = run(TOOLS / "python", "scripts/sbom", env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"})
        self.assertEqual(answer.returncode, 0, answer.stderr)
        bom = json.loads(answer.stdout)
        self.assertEqual((bom["bomFormat"], bom["specVersion"], bom["metadata"]["component"]["version"]), ("CycloneDX", "1.6", VERSION))
        self.assertTrue(bom["metadata"]["timestamp"].startswith("2023-11-14T22:13:20"))
        locked = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
        scopes = {}
        for part in bom["components"]:
            self.assertEqual(part["hashes"][0]["content"], locked[part["name"], part["version"]])
            self.assertTrue(part["licenses"], part["name"])
            scopes[part["name"]] = part["scope"]
        # What is in the binary, what only runs when it is built, what is for tests only.
        self.assertEqual((scopes["tokio"], scopes["aws-lc-sys"]), ("required", "required"))
        self.assertEqual((scopes["serde_derive"], scopes["cc"]), ("excluded", "excluded"))
        self.assertFalse({"proptest", "tempfile", "openssl", "ring"} & set(scopes))


class Workflows(unittest.TestCase):
    FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))

    def test_they_are_what_github_knows(self):
        answer = run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *self.FILES)
        self.assertEqual(answer.returncode, 0, answer.stdout)

    def test_they_give_nothing_away(self):
        """zizmor: actions by commit, least permissions, no injection, no credentials left behind."""
        answer = run(TOOLS / "zizmor", "--offline", "--no-progress", "--color=never", *self.FILES)
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)

    def test_what_they_run_exists(self):
        ran = ""
        for file in self.FILES:
            flow = YAML(typ="safe").load(file)
            self.assertEqual(flow["permissions"], {})
            for name, job in flow["jobs"].items():
                self.assertIn("timeout-minutes", job, name)
                for step in job["steps"]:
                    if "uses" in step:
                        self.assertRegex(step["uses"], "@[0-9a-f]{40}$")
                    ran += step.get("run", "") + "\n"
        scripts = set(re.findall(r"\./\S+", ran))
        self.assertLessEqual({"./.ci/run", "./scripts/advisories", "./scripts/release"}, scripts)
        for script in scripts:
            self.assertTrue(os.access(ROOT / script, os.X_OK), script)
        self.assertIn("\n./scripts/test\n", (ROOT / ".ci/run").read_text())


class Release(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        for name in ("key", "other"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a key of the tests", "-f", cls.folder / name)
        # Small, because packing it is most of the work.
        shutil.copy(HUB, cls.folder / "revocation-hub")
        run("strip", cls.folder / "revocation-hub")
        cls.results = [subprocess.Popen(cls.command(cls.folder / name), cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT) for name in ("first", "second")]
        cls.printed = [result.communicate(timeout=LONG)[0] for result in cls.results]

    @classmethod
    def command(cls, out, *more, key="key"):
        return ["scripts/release", str(out), "--key", str(cls.folder / key), "--draft", "--binary", str(cls.folder / "revocation-hub"), *more]

    def setUp(self):
        for result, printed in zip(self.results, self.printed):
            self.assertEqual(result.returncode, 0, printed)
        self.out = self.folder / "first"

    def verify(self, out, key="key"):
        signers = self.folder / f"signers-{key}"
        signers.write_text(f"release {(self.folder / f'{key}.pub').read_text()}")
        with open(out / "SHA256SUMS") as sums:
            signed = subprocess.run(["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "release", "-n", "revocation-hub-release", "-s",
                                     out / "SHA256SUMS.sig"], stdin=sums, capture_output=True).returncode == 0
        return signed and subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out, capture_output=True).returncode == 0

    def test_the_same_twice(self):
        self.assertEqual((self.out / "SHA256SUMS").read_text(), (self.folder / "second/SHA256SUMS").read_text())

    def test_everything_is_signed(self):
        named = {line.split()[1] for line in (self.out / "SHA256SUMS").read_text().splitlines()}
        self.assertEqual(named, {f.name for f in self.out.iterdir()} - {"SHA256SUMS", "SHA256SUMS.sig"})
        self.assertTrue(self.verify(self.out))
        self.assertFalse(self.verify(self.out, "other"))
        changed = self.folder / "changed"
        shutil.copytree(self.out, changed)
        with open(changed / f"revocation-hub-{VERSION}.crate", "ab") as crate:
            crate.write(b"x")
        self.assertFalse(self.verify(changed))

    def test_what_is_in_it(self):
        name = f"revocation-hub-{VERSION}-x86_64-unknown-linux-gnu"
        with tarfile.open(self.out / f"{name}.tar.gz") as archive:
            members = {m.name.removeprefix(f"{name}/"): m for m in archive.getmembers()}
            for member in members.values():
                self.assertEqual((member.uid, member.gid, member.uname, member.gname), (0, 0, "", ""))
                self.assertFalse(member.mode & 0o022, member.name)
            wanted = {"revocation-hub", "revocation-hub.toml", "LICENSE", "README.md", "CHANGELOG.md", "BUILD", "THIRD-PARTY-LICENCES.txt",
                      f"revocation-hub-{VERSION}.cdx.json", "systemd/revocation-hub.service", "monitoring/revocation-hub.yaml",
                      "monitoring/revocation-hub.json"}
            self.assertLessEqual(wanted, set(members))
            licences = archive.extractfile(members["THIRD-PARTY-LICENCES.txt"]).read().decode()
            self.assertIn("\ntokio ", licences)
            self.assertIn("Permission is hereby granted, free of charge", licences)
            self.assertIn(f"commit {run('git', 'rev-parse', 'HEAD').stdout}", archive.extractfile(members["BUILD"]).read().decode())
        with tarfile.open(self.out / f"revocation-hub-chart-{VERSION}.tgz") as archive:
            self.assertIn("revocation-hub/Chart.yaml", archive.getnames())
            self.assertIn("revocation-hub/templates/deployment.yaml", archive.getnames())

    def test_the_debian_package_installs(self):
        """dpkg puts it into a folder, as into a machine, and takes it away again; the configuration is kept."""
        deb = self.out / f"revocation-hub_{VERSION}_amd64.deb"
        self.assertIn("libc6 (>= 2.", run("dpkg-deb", "--field", deb, "Depends").stdout)
        with tempfile.TemporaryDirectory() as machine:
            for place in ("updates", "info", "triggers"):
                (Path(machine) / "var/lib/dpkg" / place).mkdir(parents=True)
            (Path(machine) / "var/lib/dpkg/status").touch()
            dpkg = ["dpkg", f"--root={machine}", "--force-not-root", "--force-depends", "--force-script-chrootless", f"--log={machine}/log"]
            installed = run(*dpkg, "--install", deb)
            self.assertEqual(installed.returncode, 0, installed.stderr)
            here = lambda path: Path(machine) / path
            self.assertEqual(run(here("usr/bin/revocation-hub"), "--version").stdout, f"revocation-hub {VERSION}\n")
            unit = here("usr/lib/systemd/system/revocation-hub.service").read_text()
            self.assertIn("\nExecStart=/usr/bin/revocation-hub serve --config /etc/revocation-hub/revocation-hub.toml\n", unit)
            self.assertTrue(here("etc/revocation-hub/revocation-hub.toml").is_file())
            removed = run(*dpkg, "--remove", "revocation-hub")
            self.assertEqual(removed.returncode, 0, removed.stderr)
            self.assertFalse(here("usr/bin/revocation-hub").exists())
            self.assertTrue(here("etc/revocation-hub/revocation-hub.toml").is_file())

    def test_a_commit_without_a_tag_is_no_release(self):
        tag = run("git", "describe", "--exact-match", "--tags").stdout.strip()
        command = [part for part in self.command(self.folder / "third") if part != "--draft"]
        if tag != f"v{VERSION}":
            answer = run(*command)
            self.assertNotEqual(answer.returncode, 0)
            self.assertRegex(answer.stderr, "not clean|not tagged")
        answer = run(*self.command(self.out))
        self.assertIn("is not empty", answer.stderr)


if __name__ == "__main__":
    unittest.main()
