"""Resources that are not Kubernetes' own, checked against the types of those who define them: the Gateway API and the
Prometheus operator, as packages of npm have them."""

import copy
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from chart import FOREIGN, ROOT, only, render

KINDS = ROOT / "tests/chart/kinds"
TYPES = {
    "HTTPRoute": "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute",
    "PrometheusRule": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule",
    "ServiceMonitor": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor",
}


def unknown_members(objects):
    """What the compiler says: a literal may have no member that its type does not know."""
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(KINDS / "node_modules", Path(folder) / "node_modules")
        text = "".join(f"import type {{ I{kind} }} from '{path}';\n" for kind, path in TYPES.items())
        text += "".join(f"export const o{i}: I{o['kind']} = {json.dumps(o)};\n" for i, o in enumerate(objects))
        (Path(folder) / "objects.mts").write_text(text)
        answer = subprocess.run([KINDS / "node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext",
                                 "--moduleResolution", "nodenext", "objects.mts"], cwd=folder, capture_output=True, text=True)
        assert (answer.returncode == 0) == (not answer.stdout), answer.stdout + answer.stderr
        return answer.stdout


def findings(objects):
    answer = subprocess.run(["node", KINDS / "check.mjs"], input=json.dumps(objects), capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


class Kinds(unittest.TestCase):
    def setUp(self):
        self.objects = [o for o in render("everything") if o["kind"] in FOREIGN]

    def test_they_are_what_their_owners_know(self):
        self.assertEqual({o["kind"] for o in self.objects}, FOREIGN)
        self.assertEqual(unknown_members(self.objects), "")
        self.assertEqual(findings(self.objects), [None] * len(self.objects))

    def test_the_check_finds_what_is_wrong(self):
        objects = copy.deepcopy(self.objects)
        only(objects, "HTTPRoute")["spec"]["rules"][0]["timeouts"]["requests"] = "0s"
        only(objects, "ServiceMonitor")["spec"]["endpoints"][0]["intervall"] = "15s"
        only(objects, "PrometheusRule")["spec"]["groups"][0]["rules"][0]["labls"] = {}
        text = unknown_members(objects)
        for name in ("requests", "intervall", "labls"):
            self.assertIn(name, text)
        objects = copy.deepcopy(self.objects)
        only(objects, "HTTPRoute")["spec"]["rules"][0]["timeouts"]["request"] = "0 s"
        only(objects, "ServiceMonitor")["spec"]["endpoints"][0]["interval"] = 15
        del only(objects, "PrometheusRule")["spec"]["groups"][0]["name"]
        self.assertNotIn(None, findings(objects))
