"""Checks of Kubernetes objects as an expert would make them. Each takes rendered objects, returns what is wrong."""

from collections.abc import Sequence

from k8s_network_checks import default_deny_problems, network_problems
from k8s_objects import Object, environment, name_of, pods, quantity, ray_version
from k8s_pod_checks import (
    image_problems,
    login_problems,
    probe_problems,
    resource_problems,
    restricted_problems,
    writable_problems,
)
from k8s_reference_checks import reference_problems


def used(found: Sequence[Object]) -> dict[str, float]:
    """What the quota must hold: everything at its largest, with one of each job and one workflow step."""
    total: dict[str, float] = {}

    def add(key: str, value: float) -> None:
        total[key] = total.get(key, 0) + value

    steps = [pod for pod in pods(found) if pod.owner.startswith("WorkflowTemplate")]
    for pod in [*(pod for pod in pods(found) if pod not in steps), *steps[:1]]:
        add("pods", pod.replicas)
        for kind in ("requests", "limits"):
            for what in ("cpu", "memory"):
                running = sum(quantity(c["resources"][kind][what]) for c in pod.spec["containers"])
                first = max(
                    [quantity(c["resources"][kind][what]) for c in pod.spec.get("initContainers", [])], default=0
                )
                add(f"{kind}.{what}", pod.replicas * max(running, first))
        for claim in pod.claims:
            add("persistentvolumeclaims", pod.replicas)
            add("requests.storage", pod.replicas * quantity(claim["spec"]["resources"]["requests"]["storage"]))
    return total


def quota_problems(found: Sequence[Object]) -> list[str]:
    hard = next((one["spec"]["hard"] for one in found if one["kind"] == "ResourceQuota"), {})  # else the admin's own
    return [
        f"quota {key}: {hard.get(key)} is less than the {value:g} that is needed"
        for key, value in used(found).items()
        if key in hard and quantity(hard[key]) < value
    ]


def keeping_problems(found: Sequence[Object]) -> list[str]:
    """Data outlives its workload, and a node can be drained."""
    problems = []
    for one in found:
        spec = one.get("spec", {})
        if one["kind"] == "StatefulSet" and one["metadata"]["name"] != "ray-redis":
            if spec.get("persistentVolumeClaimRetentionPolicy") != {"whenDeleted": "Retain", "whenScaled": "Retain"}:
                problems.append(f"{name_of(one)}: its volumes go when it goes")
            options = one["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-options", "")
            if "Delete=confirm" not in options or "Prune=confirm" not in options:
                problems.append(f"{name_of(one)}: Argo CD may delete it without asking")
        if one["kind"] == "PodDisruptionBudget" and "minAvailable" in spec:
            problems.append(f"{name_of(one)}: minAvailable on one replica blocks every drain")
        if one.get("kind") == "Secret" and (one.get("data") or one.get("stringData")):
            problems.append(f"{name_of(one)}: a secret value in Git")
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != "dream":
            problems.append(f"{name_of(one)}: not in the namespace dream")
    return problems


def ray_problems(found: Sequence[Object]) -> list[str]:
    """What the KubeRay operator checks only when it is too late, and what Ray needs to agree on."""
    problems = []
    for one in found:
        if one["kind"] not in ("RayCluster", "RayService"):
            continue
        spec, where = one["spec"].get("rayClusterConfig", one["spec"]), name_of(one)
        ports = {
            p["name"]: p["containerPort"] for p in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
        }
        if not {("gcs-server", 6379), ("dashboard", 8265), ("client", 10001)} <= set(ports.items()):
            problems.append(f"{where}: the head's Service would lack gcs-server, dashboard or client")
        if spec.get("authOptions", {}).get("mode") != "token":
            problems.append(f"{where}: no token authentication")
        if one["kind"] == "RayCluster" and spec["rayVersion"] != ray_version():
            problems.append(f"{where}: rayVersion {spec['rayVersion']}, the library has {ray_version()}")
        if spec["headGroupSpec"]["rayStartParams"].get("num-cpus") != "0":
            problems.append(f"{where}: trials would run on the head")
        for group in spec["workerGroupSpecs"]:
            if not 0 <= group["minReplicas"] <= group["maxReplicas"]:
                problems.append(f"{where} {group['groupName']}: minReplicas {group['minReplicas']} > maxReplicas")
            if spec.get("enableInTreeAutoscaling") and "replicas" in group:
                problems.append(f"{where} {group['groupName']}: replicas is the autoscaler's")
        for pod in pods([one]):
            if "RAY_ADDRESS" in environment(pod, found):
                problems.append(f"{pod.owner}: RAY_ADDRESS must be KubeRay's own")
    return problems


CHECKS = (
    image_problems,
    restricted_problems,
    writable_problems,
    resource_problems,
    probe_problems,
    reference_problems,
    network_problems,
    default_deny_problems,
    keeping_problems,
    login_problems,
    ray_problems,
    quota_problems,
)


def all_problems(found: Sequence[Object]) -> list[str]:
    return [problem for check in CHECKS for problem in check(found)]
