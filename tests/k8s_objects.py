"""Rendered Kubernetes objects: the manifests as kustomize builds them, and the pods that each object makes."""

import os
import pickle
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
K8S = REPOSITORY / "k8s"
Object = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is there
COMPONENT = "app.kubernetes.io/component"
OVERLAYS = ("k8s/overlays/laptop", "k8s/overlays/production")
_FOLDERS = sorted(str(path.parent.relative_to(REPOSITORY)) for path in K8S.rglob("kustomization.yaml"))
BUILT = [folder for folder in _FOLDERS if "/components/" not in folder and folder != "k8s/site"]


def tool(variable: str, name: str, what: str) -> str:
    """A program that .ci/run builds; a CI with Go at hand must have it, a user without is told."""
    for place in (os.environ.get(variable), REPOSITORY / ".cache/bin" / name, shutil.which(name)):
        if place and os.access(place, os.X_OK):
            return str(place)
    reason = f"no {name} to {what}: set {variable} to its binary, or put it at .cache/bin/{name} or on the PATH"
    if os.environ.get("CI") == "true" and shutil.which("go"):
        pytest.fail(f"{reason}; with Go at hand, .ci/run should have built it")
    pytest.skip(reason, allow_module_level=True)  # some files ask while they are collected


@cache
def rendered(folder: str) -> str:
    """What `kubectl apply -k` would send for a folder of the checkout."""
    program = tool("KUSTOMIZE_BINARY", "kustomize", "render the manifests")
    done = subprocess.run([program, "build", folder], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{folder}: {done.stderr}"
    return done.stdout


def objects(text: str) -> list[Object]:
    """The objects of a text, the caller's own to change."""
    return pickle.loads(_read(text))


@cache
def _read(text: str) -> bytes:
    return pickle.dumps([one for one in yaml.load_all(text, Loader=_LOADER) if one])


@cache
def secrets() -> dict[str, dict[str, str]]:
    """The Secrets that k8s/secrets.sh makes, with their values of this call."""
    text = subprocess.run([K8S / "secrets.sh"], capture_output=True, text=True, check=True).stdout
    return {one["metadata"]["name"]: one["stringData"] for one in objects(text)}


def overlay(name: str) -> list[Object]:
    """The objects of an overlay, `laptop` or `production`."""
    return objects(rendered(f"k8s/overlays/{name}"))


@dataclass(frozen=True)
class Pod:
    """A pod that some object makes. `replicas` is the most there can be; `operator`: probes are KubeRay's."""

    owner: str
    labels: Mapping[str, str]
    spec: Object
    replicas: int = 1
    job: bool = False
    operator: bool = False
    claims: tuple[Object, ...] = field(default=())

    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def name_of(one: Object) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


def pods(found: Sequence[Object]) -> Iterator[Pod]:
    for one in found:
        spec, owner = one.get("spec", {}), name_of(one)
        if one["kind"] in ("Deployment", "StatefulSet"):
            claims = tuple(spec.get("volumeClaimTemplates", []))
            strategy = spec.get("strategy", {})
            rolls = one["kind"] == "Deployment" and strategy.get("type") != "Recreate"
            surge = strategy.get("rollingUpdate", {}).get("maxSurge", 1) if rolls else 0
            yield _pod(owner, spec["template"], replicas=spec.get("replicas", 1) + surge, claims=claims)
        elif one["kind"] == "Job":
            yield _pod(owner, spec["template"], job=True)
        elif one["kind"] == "CronJob":
            yield _pod(owner, spec["jobTemplate"]["spec"]["template"], job=True)
        elif one["kind"] == "RayJob":
            yield _pod(owner, spec["submitterPodTemplate"], job=True, operator=True)
        elif one["kind"] == "RayCluster":
            yield from _ray_pods(owner, spec)
        elif one["kind"] == "RayService":
            yield from _ray_pods(owner, spec["rayClusterConfig"])
        elif one["kind"] == "WorkflowTemplate":
            yield from _workflow_pods(owner, spec)
        elif one["kind"] == "Cluster":
            yield _database_pod(owner, spec)


def _pod(owner: str, template: Object, **more: Any) -> Pod:
    return Pod(owner, template.get("metadata", {}).get("labels", {}), template["spec"], **more)


def _ray_pods(owner: str, spec: Object) -> Iterator[Pod]:
    head = spec["headGroupSpec"]["template"]
    head = {**head, "metadata": {"labels": {**head["metadata"]["labels"], "ray.io/node-type": "head"}}}
    if spec.get("enableInTreeAutoscaling"):
        options = spec["autoscalerOptions"]
        beside = {
            "name": "autoscaler",
            "image": "dream:0.1.0",
            **{k: options.get(k) for k in ("resources", "securityContext")},
        }
        head = {**head, "spec": {**head["spec"], "containers": [*head["spec"]["containers"], beside]}}
    head["metadata"]["labels"]["ray.io/is-ray-node"] = "yes"
    yield _pod(f"{owner} head", head, operator=True)
    for group in spec["workerGroupSpecs"]:
        labels = {**group["template"]["metadata"]["labels"], "ray.io/node-type": "worker", "ray.io/is-ray-node": "yes"}
        worker = {**group["template"], "metadata": {"labels": labels}}
        yield _pod(f"{owner} {group['groupName']}", worker, replicas=group["maxReplicas"], operator=True)


def _workflow_pods(owner: str, spec: Object) -> Iterator[Pod]:
    patch = yaml.safe_load(spec.get("podSpecPatch", "{}"))
    common = {key: spec[key] for key in ("serviceAccountName", "automountServiceAccountToken", "securityContext")}
    for step in spec["templates"]:
        if "container" in step:
            main, init, wait = {"name": "main", **step["container"]}, executor("init"), executor("wait")
            made = {**common, **patch, "containers": [main, wait], "initContainers": [init]}
            for key in ("volumes", "imagePullSecrets"):
                made |= {key: step.get(key, spec.get(key, []))}
            yield Pod(f"{owner} {step['name']}", spec["podMetadata"]["labels"], made, job=True)


def executor(name: str) -> Object:
    """A container that Argo Workflows 4.0.6 puts beside a step: all but its name comes from the operator's values."""
    values = operator_values("argo-workflows").get("executor", {})
    made = {key: values[key] for key in ("resources", "securityContext") if key in values}
    return {"name": name, "image": "quay.io/argoproj/argoexec:v4.0.6", **made}


@cache
def operator_values(name: str) -> Object:
    """The Helm values that Argo CD, INSTALL.md and CI install an operator with."""
    return yaml.safe_load((K8S / f"operators/{name}.yaml").read_text(encoding="utf-8"))


def _database_pod(owner: str, spec: Object) -> Pod:
    """An instance as CloudNativePG makes it, with the parts that our manifests decide."""
    container = {
        "name": "postgres",
        "image": spec["imageName"],
        "resources": spec["resources"],
        "ports": [{"name": "postgresql", "containerPort": 5432}],
    }
    claim = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": spec["storage"]["size"]}}}}
    labels = spec["inheritedMetadata"]["labels"]
    return Pod(owner, labels, {"containers": [container]}, spec["instances"], operator=True, claims=(claim,))


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    return all(
        part["operator"] == "In" and labels.get(part["key"]) in part["values"]
        for part in selector.get("matchExpressions", [])
    )


def environment(pod: Pod, found: Sequence[Object]) -> dict[str, str]:
    """Every variable of a pod's containers, references followed."""
    maps = {one["metadata"]["name"]: one.get("data") or {} for one in found if one["kind"] == "ConfigMap"}
    values: dict[str, str] = {}
    for container in pod.containers():
        for source in container.get("envFrom", []):
            values |= maps.get(source.get("configMapRef", {}).get("name"), {})
            values |= secrets().get(source.get("secretRef", {}).get("name"), {})
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            one, key = source.get("configMapKeyRef"), source.get("secretKeyRef")
            if one:
                values[variable["name"]] = maps.get(one["name"], {}).get(one["key"], "")
            elif key:
                values[variable["name"]] = secrets().get(key["name"], {}).get(key["key"], "")
            else:
                values[variable["name"]] = variable.get("value", "")
    return values


_UNITS = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity(text: str | int | float) -> float:
    """Kubernetes' way of writing numbers.

    Example:
        >>> quantity("500m"), quantity("1Gi")
        (0.5, 1073741824)
    """
    number, unit = re.fullmatch(r"([\d.]+)([A-Za-z]*)", str(text)).groups()
    value = float(number) * _UNITS[unit]
    return int(value) if value.is_integer() else value


def ray_version() -> str:
    return re.search(r"^ray==(.+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)[1]
