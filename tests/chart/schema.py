"""The schema of the chart's values (helm/revocation-hub/values.schema.json).

What is under `config` comes from the hub itself, which names every setting it knows when it is asked for one that does not
exist; the types come from the defaults. So a setting that the hub gets or loses shows as a schema that differs.
"""

import json
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

ANY_OBJECT = {"type": "object"}
STRING = {"type": "string"}
BOOL = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 1}
NATURAL = {"type": "integer", "minimum": 0}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
STRINGS = {"type": "array", "items": STRING}
TEXTS = {"type": "object", "additionalProperties": STRING}
# humantime, or whole seconds.
DURATION = {"anyOf": [NATURAL, {"type": "string", "pattern": "^([0-9]+ *[a-zµ]+ *)+$"}]}
# A name in Kubernetes (RFC 1123, with dots).
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}
NAME_OR_NONE = {"type": "string", "pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"}
KEY = {"type": "string", "pattern": "^[-._a-zA-Z0-9]+$"}
PATH = {"type": "string", "pattern": "^/"}
# No password: a ConfigMap is no place for one.
URL = {"type": "string", "pattern": "^[a-z][a-z0-9+]*://([^/@:]*@)?[^/@]+(/[^@]*)?$"}
SCOPES = {"type": "array", "items": {"enum": ["publish", "rules", "lift", "read", "admin"]}, "minItems": 1}


def closed(properties, required=()):
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": list(required)} if required else {})


def array(items):
    return {"type": "array", "items": items}


# Settings that the chart sets, and those that hold a secret themselves instead of naming a file.
NOT_HERE = {"listen", "tls", "admin", "database_url", "database_url_file", "migrate_on_start"}
SECRET = {"password", "token", "secret"}
# Tables and lists of tables; `bearer` of a client is a table, that of a source or outlet a secret.
TABLES = {"limits", "store", "audit", "feed", "streams", "proxy", "shutdown", "log", "basic", "webhook", "certificate",
          "credentials"}
LISTS = {"wso2", "clients", "issuers", "sources", "outlets"}
# What default.toml has in comments only.
TYPES = {
    "name": STRING, "kind": STRING, "username": STRING, "issuer": STRING, "claim": STRING, "name_claim": STRING,
    "default_issuer": STRING, "exchange": STRING, "queue": STRING, "destination": STRING, "subscription": STRING,
    "transmitter": STRING, "tokens_have_sid": BOOL,
    "client_id": STRING, "directory": STRING, "base_path": PATH, "path": PATH, "discovery_url": URL, "jwks_url": URL,
    "shape": {"enum": ["array", "object", "legacy"]}, "style": {"enum": ["standard", "github", "stripe"]},
    "untyped": {"enum": ["both", "jti", "opaque"]}, "start": {"enum": ["earliest", "now"]},
    "format": {"enum": ["json", "map", "legacy_map", "native"]},
    "url": {"anyOf": [URL, array(URL)]}, "keep_opaque": BOOL, "rules": BOOL, "prefetch": COUNT,
    "issuers": STRINGS, "audiences": STRINGS, "algorithms": STRINGS, "routing_keys": STRINGS, "subject_claim": STRINGS,
    "events": STRINGS, "cors_origins": STRINGS, "except_sources": STRINGS, "clients": STRINGS,
    "max_token_lifetime": DURATION, "tolerance": DURATION, "interval": DURATION, "timeout": DURATION,
    "subject": STRING, "san_dns": STRING, "san_uri": STRING, "san_email": STRING, "san_ip": STRING, "refresh_interval": DURATION, "unknown_key_interval": DURATION,
}
REQUIRED = {"clients": ["name", "scopes"], "sources": ["name", "kind"], "outlets": ["name", "kind"], "issuers": ["issuer"]}


class Hub:
    """Asks a hub which settings it knows."""

    def __init__(self, program):
        self.program = program
        text = subprocess.run([program, "config", "default"], check=True, capture_output=True, text=True).stdout
        self.defaults = tomllib.loads(text)

    def known(self, place):
        """The settings at a place: a list of tables, such as ["clients", "basic"]; [] is the file."""
        no_such = "no_such_setting"
        if not place:
            toml = f"{no_such} = 1\n"
        else:
            first, rest = place[0], place[1:]
            head = f"[[{first}]]\n" if first in LISTS else f"[{first}]\n"
            toml = head + (f"{no_such} = 1\n" if not rest else f"{rest[0]} = {{ {no_such} = 1 }}\n")
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(toml)
            file.flush()
            answer = subprocess.run([self.program, "config", "check", file.name], capture_output=True, text=True)
        found = re.search(r"known here: (.*)", answer.stderr)
        assert found, f"{place}: {answer.stderr}"
        return [name.strip() for name in found[1].split(",")]

    def schema(self, place=()):
        place = list(place)
        defaults = self.defaults
        for part in place:
            defaults = defaults.get(part, {}) if isinstance(defaults, dict) else {}
        if isinstance(defaults, list):
            defaults = {}
        properties = {}
        for name in self.known(place):
            if name in SECRET or (not place and name in NOT_HERE) or (name == "bearer" and place in (["sources"], ["outlets"])):
                continue
            properties[name] = self.type_of(place, name, defaults.get(name))
        return closed(properties, REQUIRED.get(place[0], ()) if len(place) == 1 else ())

    def type_of(self, place, name, value):
        here = [*place, name]
        if not place and name in LISTS:
            return array(self.schema(here))
        if name in TABLES or (name == "bearer" and place == ["clients"]):
            return self.schema(here)
        if name == "scopes":
            return SCOPES if place == ["clients"] else {"type": "object", "additionalProperties": SCOPES}
        if name.endswith("_file"):
            return PATH
        if place == ["log"]:
            return {"enum": ["auto", "text", "json"]} if name == "format" else STRING
        if isinstance(value, bool):
            return BOOL
        if isinstance(value, int):
            return NATURAL
        if isinstance(value, list):
            return STRINGS
        if isinstance(value, str):
            return DURATION if re.fullmatch(r"([0-9]+ *[a-z]+ *)+", value) else STRING
        assert name in TYPES, f"tests/chart/schema.py does not know of what type {'.'.join(here)} is"
        return TYPES[name]


def probe():
    return closed({
        "periodSeconds": COUNT, "timeoutSeconds": COUNT, "failureThreshold": COUNT, "successThreshold": COUNT,
        "initialDelaySeconds": NATURAL,
    })


def values(hub):
    """The whole schema. Objects of Kubernetes' own, which its API server checks, may have any members."""
    # One without a selector or an address would be refused only by Kubernetes; a misspelt one would be empty.
    peers = array(closed({"podSelector": ANY_OBJECT, "namespaceSelector": ANY_OBJECT, "ipBlock": ANY_OBJECT}) | {"minProperties": 1})
    # Prefixes of both HTTP paths of Ingress and HTTPRoute.
    paths = array(PATH)
    config = hub.schema()
    # The chart computes with these two.
    config["required"] = ["shutdown", "streams"]
    schema = closed({
        # Helm gives it to charts that others contain.
        "global": ANY_OBJECT,
        "nameOverride": STRING,
        "fullnameOverride": NAME_OR_NONE,
        "commonLabels": TEXTS,
        "podAnnotations": TEXTS,
        "podLabels": TEXTS,
        "image": closed({
            "repository": STRING, "tag": STRING,
            "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
            "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
            "pullSecrets": array(NAME),
        }),
        "replicas": COUNT,
        "database": closed({
            "kind": {"enum": ["postgres", "sqlite"]},
            "postgres": closed({"existingSecret": NAME_OR_NONE, "key": KEY}),
            "sqlite": closed({
                "size": STRING, "storageClass": STRING, "existingClaim": NAME_OR_NONE,
                "accessMode": {"enum": ["ReadWriteOnce", "ReadWriteOncePod"]},
            }),
        }),
        "migrations": closed({
            "mode": {"enum": ["start", "init", "job"]}, "existingSecret": NAME_OR_NONE, "key": KEY, "deadlineSeconds": COUNT,
        }),
        "secretFiles": array(NAME) | {"uniqueItems": True},
        "configMapFiles": array(NAME) | {"uniqueItems": True},
        "config": config,
        "listenAddress": {"type": "string", "minLength": 1},
        "containerPort": {"type": "integer", "minimum": 1024, "maximum": 65535},
        "tls": closed({
            "existingSecret": NAME_OR_NONE, "caKey": {"type": "string", "pattern": "^[-._a-zA-Z0-9]*$"},
            "clients": closed({
                "existingSecret": NAME_OR_NONE, "key": KEY, "certificates": {"enum": ["optional", "required"]},
            }),
        }),
        "admin": closed({"port": {"anyOf": [{"const": 0}, {"type": "integer", "minimum": 1024, "maximum": 65535}]}}),
        "preStopSleepSeconds": NATURAL,
        "terminationGracePeriodSeconds": {"type": ["integer", "null"], "minimum": 1},
        "probes": closed({"startup": probe(), "liveness": probe(), "readiness": probe()}),
        "resources": closed({"requests": ANY_OBJECT, "limits": ANY_OBJECT, "claims": array(ANY_OBJECT)}),
        "runAsUser": {"type": ["integer", "null"], "minimum": 1},
        "fsGroup": {"type": ["integer", "null"], "minimum": 1},
        "extraEnv": array(closed({"name": STRING, "value": STRING, "valueFrom": ANY_OBJECT}, ["name"])),
        # What the restricted profile of the Pod Security Standards allows.
        "extraVolumes": array(closed({"name": NAME} | {kind: ANY_OBJECT for kind in (
            "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")}, ["name"])),
        "extraVolumeMounts": array(ANY_OBJECT | {"required": ["name", "mountPath"]}),
        "nodeSelector": TEXTS,
        "tolerations": array(ANY_OBJECT),
        "affinity": ANY_OBJECT,
        "priorityClassName": STRING,
        "topologySpreadConstraints": array(ANY_OBJECT),
        "serviceAccount": closed({"create": BOOL, "name": NAME_OR_NONE, "annotations": TEXTS}),
        "service": closed({
            "type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}, "port": PORT, "annotations": TEXTS,
            "loadBalancerClass": STRING, "loadBalancerSourceRanges": STRINGS,
            "externalTrafficPolicy": {"enum": ["", "Cluster", "Local"]},
        }),
        "podDisruptionBudget": closed({"enabled": BOOL, "maxUnavailable": COUNT}),
        "autoscaling": closed({
            "enabled": BOOL, "minReplicas": COUNT, "maxReplicas": COUNT, "targetStreams": COUNT,
            "scaleDownStabilizationSeconds": {"type": "integer", "minimum": 0, "maximum": 3600},
            "scaleDownPeriodSeconds": {"type": "integer", "minimum": 1, "maximum": 1800},
        }),
        "networkPolicy": closed({
            "enabled": BOOL,
            "ingress": closed({"clients": peers, "monitoring": peers}),
            "egress": closed({
                "dns": peers,
                "database": closed({"peers": peers, "port": PORT}),
                # No peers would be everybody.
                "others": array(closed(
                    {"peers": peers | {"minItems": 1}, "ports": array(PORT) | {"minItems": 1}}, ["peers", "ports"])),
            }),
        }),
        "ingress": closed({
            "enabled": BOOL, "className": STRING, "annotations": TEXTS, "nginx": BOOL,
            "hosts": array(closed({"host": STRING, "paths": paths}, ["host"])),
            "tls": array(closed({"secretName": NAME, "hosts": STRINGS})),
        }),
        "httpRoute": closed({
            "enabled": BOOL, "annotations": TEXTS, "parentRefs": array(ANY_OBJECT | {"required": ["name"]}),
            "hostnames": STRINGS, "paths": paths | {"minItems": 1},
        }),
        "serviceMonitor": closed({"enabled": BOOL, "labels": TEXTS, "interval": STRING, "scrapeTimeout": STRING}),
        "prometheusRule": closed({"enabled": BOOL, "labels": TEXTS}),
        "dashboard": closed({"enabled": BOOL, "labels": TEXTS, "annotations": TEXTS}),
        "test": closed({"existingSecret": NAME_OR_NONE, "key": KEY, "user": STRING}),
    })
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart revocation-hub"} | schema


def text(program: Path) -> str:
    return json.dumps(values(Hub(program)), indent=2, ensure_ascii=False) + "\n"
