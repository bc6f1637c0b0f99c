"""The network policies of the chart, judged as Kubernetes judges them: who may talk to whom, and that nobody else does."""

import ipaddress
import unittest

from chart import hub_pod, only, render, values

NAMESPACE = "identity"
NAME = "kubernetes.io/metadata.name"


class Pod:
    """One end of a connection."""

    def __init__(self, labels, namespace, ports=None, address="10.244.7.7"):
        self.labels, self.namespace, self.ports, self.address = labels, namespace, ports or {}, address


class Address(Pod):
    """One that is no pod."""

    def __init__(self, address):
        super().__init__(None, None, address=address)


def selects(selector, labels):
    assert set(selector) <= {"matchLabels"}, "this judge knows matchLabels only"
    return labels is not None and selector.get("matchLabels", {}).items() <= labels.items()


def is_peer(peer, end):
    if "ipBlock" in peer:
        block, address = peer["ipBlock"], ipaddress.ip_address(end.address)
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in ipaddress.ip_network(e) for e in block.get("except", []))
    if end.labels is None:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {NAME: end.namespace}):
            return False
    elif end.namespace != NAMESPACE:
        return False
    return selects(peer.get("podSelector", {}), end.labels)


def one_way(policies, pod, direction, other, target, port, protocol):
    """Whether what the policies say about one pod lets a connection pass."""
    hit = [p["spec"] for p in policies if pod.namespace == NAMESPACE and selects(p["spec"]["podSelector"], pod.labels)]
    hit = [spec for spec in hit if direction.capitalize() in spec["policyTypes"]]
    if not hit:
        return True
    for spec in hit:
        for rule in spec.get(direction) or []:
            peers = rule.get("from" if direction == "ingress" else "to")
            ports = rule.get("ports")
            named = not ports or any(
                p.get("protocol", "TCP") == protocol and p.get("port") in (None, port, next(
                    (name for name, number in target.ports.items() if number == port), "-")) for p in ports)
            if named and (not peers or any(is_peer(peer, other) for peer in peers)):
                return True
    return False


def allowed(policies, source, target, port, protocol="TCP"):
    return one_way(policies, source, "egress", target, target, port, protocol) and one_way(
        policies, target, "ingress", source, target, port, protocol)


def pod_of(template, namespace=NAMESPACE):
    ports = {p["name"]: p["containerPort"] for c in template["spec"]["containers"] for p in c.get("ports", [])}
    return Pod(template["metadata"]["labels"], namespace, ports)


class Policies(unittest.TestCase):
    def setUp(self):
        self.objects = render("everything")
        self.policies = [o for o in self.objects if o["kind"] == "NetworkPolicy"]
        self.hub = pod_of(only(self.objects, "Deployment")["spec"]["template"])
        self.migrate = pod_of(only(self.objects, "Job")["spec"]["template"])
        self.test = pod_of(only(self.objects, "Pod"))
        self.port = hub_pod(self.objects)["containers"][0]["ports"][0]["containerPort"]
        self.gateway = Pod({"app": "gateway"}, "gateways")
        self.prometheus = Pod({"app": "prometheus"}, "monitoring")
        self.postgres = Pod({"app": "postgres"}, NAMESPACE, address="10.244.1.1")
        self.dns = Pod({"k8s-app": "kube-dns"}, "kube-system")

    def passes(self, *connection):
        self.assertTrue(allowed(self.policies, *connection), connection[2:])

    def is_denied(self, *connection):
        self.assertFalse(allowed(self.policies, *connection), connection[2:])

    def test_who_is_named_may_come_in(self):
        for caller in (self.gateway, self.prometheus, self.test):
            self.passes(caller, self.hub, self.port)
            self.is_denied(caller, self.hub, 22)
            self.is_denied(caller, self.hub, self.port, "UDP")

    def test_nobody_else_may(self):
        strangers = [Pod({"app": "gateway"}, "default"), Pod({"app": "other"}, "gateways"), Pod({}, NAMESPACE), Pod({}, "kube-system"),
                     self.migrate, self.postgres, self.hub, Address("203.0.113.9"), Address("10.1.2.4")]
        for stranger in strangers:
            self.is_denied(stranger, self.hub, self.port)
        for target in (self.migrate, self.test):
            for source in [*strangers, self.gateway, self.prometheus, self.hub]:
                self.is_denied(source, target, self.port)

    def test_the_hub_reaches_what_it_needs_and_no_more(self):
        self.passes(self.hub, self.postgres, 5432)
        self.passes(self.hub, self.dns, 53, "UDP")
        self.passes(self.hub, self.dns, 53)
        self.passes(self.hub, Address("10.1.2.4"), 5671)
        self.is_denied(self.hub, self.postgres, 22)
        self.is_denied(self.hub, Address("10.1.2.4"), 443)
        # The metadata of a cloud, Kubernetes' own API, the world, the neighbours.
        for address, port in (("169.254.169.254", 80), ("10.96.0.1", 443), ("203.0.113.9", 443), ("10.1.2.5", 5671)):
            self.is_denied(self.hub, Address(address), port)
        self.is_denied(self.hub, self.gateway, 8080)
        self.is_denied(self.hub, Pod({}, NAMESPACE), 5432)

    def test_the_migration_and_the_test_reach_one_place_each(self):
        self.passes(self.migrate, self.postgres, 5432)
        self.is_denied(self.test, self.postgres, 5432)
        for pod in (self.migrate, self.test):
            self.passes(pod, self.dns, 53, "UDP")
            self.is_denied(pod, Address("203.0.113.9"), 443)
            self.is_denied(pod, Address("10.1.2.4"), 5671)

    def test_the_policy_of_the_migration_is_there_first(self):
        policy = only(self.objects, "NetworkPolicy", "hub-migrate")["metadata"]["annotations"]
        job = only(self.objects, "Job")["metadata"]["annotations"]
        self.assertEqual(policy["helm.sh/hook"], job["helm.sh/hook"])
        self.assertLess(int(policy["helm.sh/hook-weight"]), int(job["helm.sh/hook-weight"]))

    def test_no_rule_is_for_everybody(self):
        for name in ("postgres", "everything"):
            objects = render(name)
            policies = [o for o in objects if o["kind"] == "NetworkPolicy"]
            for pod in [o for o in objects if o["kind"] in ("Deployment", "Job", "Pod")]:
                labels = pod.get("spec", {}).get("template", pod)["metadata"]["labels"]
                hit = [p for p in policies if selects(p["spec"]["podSelector"], labels)]
                self.assertEqual(len(hit), 1, f"{pod['kind']} of {name}")
            for policy in policies:
                spec = policy["spec"]
                self.assertEqual(spec["policyTypes"], ["Ingress", "Egress"])
                # A rule without peers or ports is one for everybody or everything.
                for rule, peers in [(r, "from") for r in spec["ingress"]] + [(r, "to") for r in spec["egress"]]:
                    self.assertTrue(rule[peers] and rule["ports"], rule)
                    self.assertTrue(all(rule[peers]), rule)

    def test_nobody_named_is_nobody_let_in(self):
        closed = only(render("postgres", networkPolicy={"ingress": {"clients": []}, "egress": {"dns": []}}), "NetworkPolicy")
        self.assertEqual(closed["spec"]["ingress"], [])
        self.assertEqual([p["port"] for r in closed["spec"]["egress"] for p in r["ports"]], [5432])
        sqlite = render("sqlite", networkPolicy={"enabled": True, "egress": {"dns": []}}, test={"existingSecret": ""})
        self.assertEqual(only(sqlite, "NetworkPolicy")["spec"]["egress"], [])
        self.assertFalse(values("sqlite")["networkPolicy"]["enabled"])
        self.assertFalse([o for o in render("sqlite") if o["kind"] == "NetworkPolicy"])
