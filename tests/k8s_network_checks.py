"""Connections between pods: those that settings need, and those that network policies let through."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import yaml
from k8s_objects import COMPONENT, Object, Pod, environment, matches, name_of, pods

DEFAULT_PORTS = {"http": 80, "https": 443, "ray": 10001, "postgresql": 5432, "redis": 6379}


def let_through(found: Sequence[Object], source: Mapping[str, str], target: Mapping[str, str], port: int) -> bool:
    """Whether the policies let a connection between two pods pass: out of one and into the other."""
    return _direction(found, "Egress", source, target, port) and _direction(found, "Ingress", target, source, port)


def _direction(found: Sequence[Object], way: str, own: Mapping[str, str], other: Mapping[str, str], port: int) -> bool:
    chosen = [
        one["spec"]
        for one in found
        if one["kind"] == "NetworkPolicy"
        and way in one["spec"]["policyTypes"]
        and matches(one["spec"]["podSelector"], own)
    ]
    key, side = ("egress", "to") if way == "Egress" else ("ingress", "from")
    return not chosen or any(
        _rule_passes(rule.get(side), rule.get("ports"), other, port) for spec in chosen for rule in spec.get(key, [])
    )


def _rule_passes(
    peers: Sequence[Object] | None, ports: Sequence[Object] | None, other: Mapping[str, str], port: int
) -> bool:
    reaches = peers is None or any(
        "podSelector" in peer and "namespaceSelector" not in peer and matches(peer["podSelector"], other)
        for peer in peers
    )
    return reaches and (ports is None or any(p["port"] == port and p["protocol"] == "TCP" for p in ports))


def services(found: Sequence[Object]) -> dict[str, tuple[Mapping[str, str], dict[int, int]]]:
    """Service name: the labels that it selects, and its ports with the pod's port behind each."""
    made = {}
    every = list(pods(found))
    for one in found:
        if one["kind"] == "Service":
            selector = one["spec"]["selector"]
            ports = {p["name"]: p["containerPort"] for pod in every if matches({"matchLabels": selector}, pod.labels)
                     for c in pod.containers() for p in c.get("ports", [])}  # fmt: skip
            made[one["metadata"]["name"]] = (
                selector,
                {p["port"]: ports.get(p["targetPort"], 0) for p in one["spec"]["ports"]},
            )
        elif one["kind"] in ("RayCluster", "RayService"):
            spec = one["spec"].get("rayClusterConfig", one["spec"])
            head = spec["headGroupSpec"]["template"]
            ports = {p["containerPort"]: p["containerPort"] for p in head["spec"]["containers"][0]["ports"]}
            labels = {**head["metadata"]["labels"], "ray.io/node-type": "head"}
            made[f"{one['metadata']['name']}-head-svc"] = (labels, ports)
            if one["kind"] == "RayService":
                made[f"{one['metadata']['name']}-serve-svc"] = (labels, {8000: 8000})
        elif one["kind"] == "Cluster":
            made[f"{one['metadata']['name']}-rw"] = ({COMPONENT: "postgres"}, {5432: 5432})
    return made


def needed(found: Sequence[Object]) -> dict[tuple[str, str, int], str]:
    """`{(component, host, port): why}`: what each pod's settings make it connect to."""
    edges = {}
    for pod in pods(found):
        component = pod.labels.get(COMPONENT, "?")
        values = environment(pod, found)
        for name, value in values.items():
            if name == "PGHOST":
                edges[component, value, int(values["PGPORT"])] = f"{pod.owner} PGHOST"
            parts = urlsplit(value) if "://" in value else None
            if parts and parts.scheme.split("+")[0] in DEFAULT_PORTS and parts.hostname:
                edges[component, parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme.split("+")[0]]] = (
                    f"{pod.owner} {name}"
                )
                if parts.scheme == "ray":  # DREAM asks the dashboard for the version
                    edges[component, parts.hostname, 8265] = f"{pod.owner} {name}"
    for one in found:
        if one["kind"] == "RayCluster" and "gcsFaultToleranceOptions" in one["spec"]:
            host, port = one["spec"]["gcsFaultToleranceOptions"]["redisAddress"].split(":")
            edges["ray", host, int(port)] = f"{name_of(one)} redisAddress"
        if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "artifact-repositories":
            endpoint = yaml.safe_load(one["data"]["reports"])["s3"]["endpoint"]
            host, _, port = endpoint.partition(":")
            edges["pipeline", host, int(port or 443)] = "artifact-repositories"
    return edges


def network_problems(found: Sequence[Object]) -> list[str]:
    """Every host that a setting names is a Service with that port, the policies let it pass, and pass nothing else."""
    every, known, problems = list(pods(found)), services(found), []
    wanted = {("ray", "ray")}
    for (component, host, port), why in needed(found).items():
        outside = "." in host and not host.endswith((".svc", ".svc.cluster.local"))
        if outside:
            continue
        if host.split(".")[0] not in known:
            problems.append(f"{why}: no Service {host}")
            continue
        labels, ports = known[host.split(".")[0]]
        if port not in ports:
            problems.append(f"{why}: the Service {host} has no port {port}")
            continue
        wanted.add((component, labels[COMPONENT], ports[port]))
        sources = [pod for pod in every if pod.labels.get(COMPONENT) == component]
        targets = [pod for pod in every if matches({"matchLabels": dict(labels)}, pod.labels)]
        for source in sources:
            for target in targets:
                if not let_through(found, source.labels, target.labels, ports[port]):
                    problems.append(
                        f"{why}: the network policies stop {component} -> {labels[COMPONENT]}:{ports[port]}"
                    )
    return problems + _surplus_problems(found, every, wanted)


def _surplus_problems(found: Sequence[Object], every: Sequence[Pod], wanted: set[tuple]) -> list[str]:
    problems = set()
    for source in every:
        for target in every:
            for port in {p["containerPort"] for c in target.containers() for p in c.get("ports", [])}:
                ends = source.labels.get(COMPONENT, "?"), target.labels.get(COMPONENT, "?")
                inside = ends[0] == ends[1] and ends[0] in ("ray", "vllm", "postgres")
                optional = ends[0] == "rayjob-submitter"
                if inside or optional or (*ends, port) in wanted:
                    continue
                if let_through(found, source.labels, target.labels, port):
                    problems.add(f"the network policies let {ends[0]} reach {ends[1]}:{port}, which no setting needs")
    return sorted(problems)


def default_deny_problems(found: Sequence[Object]) -> list[str]:
    """There is a policy that denies all traffic, so that the others only allow some."""
    for policy in (one["spec"] for one in found if one["kind"] == "NetworkPolicy"):
        everybody = policy["podSelector"] == {} and {"Ingress", "Egress"} == set(policy["policyTypes"])
        if everybody and not policy.get("ingress") and not policy.get("egress"):
            return []
    return ["no policy denies everything by default"]
