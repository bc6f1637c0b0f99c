"""Renders the chart and finds things in what comes out."""

import os
import socket
import subprocess
import tempfile
from pathlib import Path

import yaml

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


def template(given, chart=CHART):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(given, file)
        file.flush()
        return helm("template", "hub", chart, "--namespace", "identity", "-f", file.name)


def render(name, chart=CHART, **change):
    answer = template(values(name, **change), chart)
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


def arguments(container, **fields):
    """The arguments and the environment of a container as Kubernetes hands them over; `fields` are those of the pod that it
    asks for, such as uid."""
    environment = {}
    for variable in container.get("env", []):
        if "value" in variable:
            environment[variable["name"]] = variable["value"]
        else:
            path = variable["valueFrom"]["fieldRef"]["fieldPath"]
            environment[variable["name"]] = fields[path.removeprefix("metadata.")]
    args = container["args"]
    for name, value in environment.items():
        args = [argument.replace(f"$({name})", value) for argument in args]
    assert not any("$(" in argument for argument in args), args
    return args, environment
