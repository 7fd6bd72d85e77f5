"""Checks of pods: images, Pod Security, places to write, resources, probes and logins. Each returns what is wrong."""

import re
from collections.abc import Sequence

from k8s_objects import Object, Pod, pods, quantity


def image_problems(found: Sequence[Object]) -> list[str]:
    """Every image has an exact tag; what is not ours has a digest too, as far as one is known."""
    problems = []
    for pod in pods(found):
        for container in pod.containers():
            image = container["image"]
            where = f"{pod.owner} {container['name']}: {image}"
            tag = image.split("@")[0].rpartition(":")[2]
            if "/" in tag or tag == image.split("@")[0] or not re.search(r"\d+\.\d+|\d{4}-\d\d-\d\d", tag):
                problems.append(f"{where}: no exact tag")
            if re.search(r"(^|/)(minio/minio|minio/mc|bitnami\w*)[/:@]", image):
                problems.append(f"{where}: deleted or unmaintained upstream")
            ours = image.split("@")[0].split("/")[-1].startswith("dream:")
            # Argo's own, whose tag its chart sets, and images of which no digest is known.
            unverified = image.startswith(
                ("docker.io/rayproject/ray-llm:", "quay.io/argoproj/argoexec:", "ghcr.io/cloudnative-pg/postgresql:")
            )
            if not ours and not unverified and not re.search(r"@sha256:[0-9a-f]{64}$", image):
                problems.append(f"{where}: no digest")
    return problems


def restricted_problems(found: Sequence[Object]) -> list[str]:
    """What Pod Security `restricted` would refuse, and what good manners add to it."""
    problems = []
    for pod in pods(found):
        if pod.owner.startswith("Cluster "):
            continue  # CloudNativePG writes the whole pod; its operator's tests are not ours
        problems += _pod_security_problems(pod)
        for container in pod.containers():
            problems += _container_security_problems(pod, container)
    return problems


def _pod_security_problems(pod: Pod) -> list[str]:
    context, problems = pod.spec.get("securityContext", {}), []
    if context.get("runAsNonRoot") is not True or context.get("runAsUser", 0) == 0:
        problems.append(f"{pod.owner}: may run as root")
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        problems.append(f"{pod.owner}: no seccomp profile")
    if pod.spec.get("enableServiceLinks") is not False:
        problems.append(f"{pod.owner}: enableServiceLinks: Services would set variables such as MLFLOW_PORT")
    autoscales = any(container["name"] == "autoscaler" for container in pod.containers())
    if pod.spec.get("automountServiceAccountToken") is not False and not autoscales:
        problems.append(f"{pod.owner}: has an API token that it does not need")
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(key):
            problems.append(f"{pod.owner}: {key}")
    for volume in pod.spec.get("volumes", []):
        allowed = {
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        }
        if not set(volume) - {"name"} <= allowed:
            problems.append(f"{pod.owner}: volume {volume['name']} is of a kind that `restricted` refuses")
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
            problems.append(f"{pod.owner}: volume {volume['name']} has no sizeLimit")
    return problems


def _container_security_problems(pod: Pod, container: Object) -> list[str]:
    where, context = f"{pod.owner} {container['name']}", container.get("securityContext") or {}
    problems = []
    if context.get("allowPrivilegeEscalation") is not False:
        problems.append(f"{where}: privilege escalation")
    if context.get("privileged") or context.get("capabilities") != {"drop": ["ALL"]}:
        problems.append(f"{where}: keeps capabilities")
    if context.get("runAsUser") == 0 or context.get("runAsNonRoot") is False:
        problems.append(f"{where}: root")
    if not pod.operator and context.get("readOnlyRootFilesystem") is not True:
        problems.append(f"{where}: may write to its root file system (only Ray has to)")
    if any("hostPort" in port for port in container.get("ports", [])):
        problems.append(f"{where}: hostPort")
    return problems


def writable_problems(found: Sequence[Object]) -> list[str]:
    """With a read-only root, our programs and their libraries (matplotlib, MLflow, git) still have /tmp and a home."""
    problems = []
    for pod in pods(found):
        kept = {v["name"] for v in pod.spec.get("volumes", []) if "emptyDir" in v or "persistentVolumeClaim" in v}
        kept |= {claim["metadata"]["name"] for claim in pod.claims}
        for container in pod.containers():
            where, ours = f"{pod.owner} {container['name']}", container["image"].split("/")[-1].startswith("dream:")
            mounts = [m for m in container.get("volumeMounts", []) if m["name"] in kept and not m.get("readOnly")]
            writable = {mount["mountPath"] for mount in mounts}
            if not (container.get("securityContext") or {}).get("readOnlyRootFilesystem") or not ours:
                continue
            if container.get("command", [""])[0] == "sh" and "cp " in container["command"][-1]:
                continue  # copies files from the image and nothing else
            if "/tmp" not in writable:
                problems.append(f"{where}: cannot write to /tmp")
            home = {one["name"]: one.get("value") for one in container.get("env", [])}.get("HOME")
            if home not in writable:
                problems.append(f"{where}: HOME is {home}, where it cannot write")
    return problems


def resource_problems(found: Sequence[Object]) -> list[str]:
    """Requests and limits everywhere; for Ray the memory requested is the memory there is."""
    problems = []
    for pod in pods(found):
        for container in pod.containers():
            resources = container.get("resources") or {}
            for kind in ("requests", "limits"):
                if not {"cpu", "memory"} <= set(resources.get(kind, {})):
                    problems.append(f"{pod.owner} {container['name']}: no {kind}")
            over = [
                key
                for key, value in resources.get("requests", {}).items()
                if quantity(value) > quantity(resources.get("limits", {}).get(key, value))
            ]
            problems += [f"{pod.owner} {container['name']}: requests more {key} than its limit" for key in over]
            memory = [resources.get(kind, {}).get("memory") for kind in ("requests", "limits")]
            if "Ray" in pod.owner and not pod.job and memory[0] != memory[1]:
                problems.append(f"{pod.owner} {container['name']}: Ray memory request and limit differ")
    return problems


def probe_problems(found: Sequence[Object]) -> list[str]:
    """Servers say when they have started, are ready and live; Ray's probes are the operator's own."""
    problems = []
    for pod in pods(found):
        for container in pod.spec["containers"]:
            probes = {"readinessProbe", "livenessProbe"} & set(container)
            if pod.operator and probes:
                problems.append(f"{pod.owner} {container['name']}: KubeRay injects the probes")
            if not pod.operator and not pod.job and len(probes) < 2:
                problems.append(f"{pod.owner} {container['name']}: no readiness or liveness probe")
            named = {port.get("name") for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                check = container.get(probe, {})
                port = (check.get("httpGet") or check.get("tcpSocket") or {}).get("port")
                if isinstance(port, str) and port not in named:
                    problems.append(f"{pod.owner} {container['name']}: {probe} asks the port {port!r}, which it lacks")
    return problems


def login_problems(found: Sequence[Object]) -> list[str]:
    """Who logs to MLflow can show a login, where a server elsewhere asks for one."""
    problems = []
    for pod in pods(found):
        for container in pod.containers():
            sources = container.get("envFrom", [])
            named = {one["configMapRef"]["name"] for one in sources if "configMapRef" in one}
            named |= {one["name"] for one in container.get("env", [])}
            login = {"name": "mlflow-tracking", "optional": True}
            if {"dream-env", "MLFLOW_TRACKING_URI"} & named and {"secretRef": login} not in sources:
                problems.append(f"{pod.owner} {container['name']}: logs to MLflow without the Secret mlflow-tracking")
    return problems
