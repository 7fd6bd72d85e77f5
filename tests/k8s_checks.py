"""Checks of Kubernetes objects as an expert would make them. Each takes rendered objects, returns what is wrong."""

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
from urllib.parse import urlsplit

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
K8S = REPOSITORY / "k8s"
Object = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is there
DEFAULT_PORTS = {"http": 80, "https": 443, "ray": 10001, "postgresql": 5432, "redis": 6379}
# Secrets that k8s/secrets.sh does not make: optional ones, and those that name somebody else's service.
SECRETS_BY_HAND = {
    "dream-model-keys": None,  # any key
    "hugging-face": {"HF_TOKEN"},
    "mlflow-tracking": {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"},
    "dream-git": {"DREAM_GIT_REPOSITORY", "DREAM_GIT_TOKEN", "DREAM_GIT_PULL_REQUESTS"},
    "dream-git-key": {"ssh-privatekey", "known_hosts"},
    "backup-target": None,
    "sign-on": {"client-id", "client-secret", "cookie-secret"},
    "pipeline-executor.service-account-token": {"token"},
}
COMPONENT = "app.kubernetes.io/component"
OPTIONAL = {
    "rayjob-submitter",
    "serve",
    "serve-check",
}  # components that policies of others may name where they are away


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


# --- images ---


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


# --- pods ---


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


# --- names ---


def reference_problems(found: Sequence[Object]) -> list[str]:
    """Every Secret, ConfigMap, ServiceAccount, volume, port and label that one object names exists in another."""
    maps = {one["metadata"]["name"]: set(one.get("data") or {}) for one in found if one["kind"] == "ConfigMap"}
    accounts = {one["metadata"]["name"] for one in found if one["kind"] == "ServiceAccount"}
    kept = {**{name: set(values) for name, values in secrets().items()}, **SECRETS_BY_HAND}
    problems = []
    for pod in pods(found):
        account = pod.spec.get("serviceAccountName")
        if account and account not in accounts:
            problems.append(f"{pod.owner}: ServiceAccount {account} does not exist")
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in pod.claims}
        for volume in pod.spec.get("volumes", []):
            if "configMap" in volume:
                problems += _missing(pod.owner, "ConfigMap", volume["configMap"]["name"], None, maps)
            if "secret" in volume:
                problems += _missing(pod.owner, "Secret", volume["secret"]["secretName"], None, kept)
        for container in pod.containers():
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            problems += [f"{pod.owner}: volume {name} does not exist" for name in sorted(mounted - volumes)]
            problems += _environment_problems(pod.owner, container, maps, kept)
    return problems + _selector_problems(found) + _other_reference_problems(found, accounts, kept)


def _missing(owner: str, kind: str, name: str, key: str | None, known: Mapping[str, set[str] | None]) -> list[str]:
    if name not in known:
        return [f"{owner}: {kind} {name} does not exist"]
    keys = known[name]
    return [f"{owner}: {kind} {name} has no key {key}"] if key and keys is not None and key not in keys else []


def _environment_problems(owner: str, container: Object, maps: Mapping, kept: Mapping) -> list[str]:
    problems = []
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            problems += _missing(owner, "ConfigMap", source["configMapRef"]["name"], None, maps)
        if "secretRef" in source:
            problems += _missing(owner, "Secret", source["secretRef"]["name"], None, kept)
    for variable in container.get("env", []):
        source = variable.get("valueFrom", {})
        if reference := source.get("configMapKeyRef"):
            problems += _missing(owner, "ConfigMap", reference["name"], reference["key"], maps)
        if reference := source.get("secretKeyRef"):
            problems += _missing(owner, "Secret", reference["name"], reference["key"], kept)
    return problems


def _selector_problems(found: Sequence[Object]) -> list[str]:
    every, problems = list(pods(found)), []
    for one in found:
        spec = one.get("spec", {})
        if one["kind"] == "Service":
            chosen = [pod for pod in every if matches({"matchLabels": spec["selector"]}, pod.labels)]
            ports = {
                p.get("name") or p["containerPort"]
                for pod in chosen
                for c in pod.containers()
                for p in c.get("ports", [])
            }
            problems += [] if chosen else [f"{name_of(one)}: selects no pod"]
            problems += [
                f"{name_of(one)}: no pod has the port {port['targetPort']}"
                for port in spec["ports"]
                if chosen and port["targetPort"] not in ports
            ]
        elif one["kind"] in ("Deployment", "StatefulSet"):
            labels = spec["template"]["metadata"]["labels"]
            problems += [] if matches(spec["selector"], labels) else [f"{name_of(one)}: does not select its own pods"]
            services = {o["metadata"]["name"] for o in found if o["kind"] == "Service"}
            if "serviceName" in spec and spec["serviceName"] not in services:
                problems.append(f"{name_of(one)}: Service {spec['serviceName']} does not exist")
        elif one["kind"] in ("PodDisruptionBudget", "PodMonitor"):
            if not any(matches(spec["selector"], pod.labels) for pod in every):
                problems.append(f"{name_of(one)}: selects no pod")
        elif one["kind"] == "NetworkPolicy":
            is_optional = spec["podSelector"].get("matchLabels", {}).get(COMPONENT) in OPTIONAL
            if not is_optional and not any(matches(spec["podSelector"], pod.labels) for pod in every):
                problems.append(f"{name_of(one)}: selects no pod")
            problems += _peer_problems(one, every)
    return problems


def _peer_problems(policy: Object, every: Sequence[Pod]) -> list[str]:
    """Each component that a policy names is there; those of optional folders may be away."""
    there = {pod.labels.get(COMPONENT) for pod in every} | OPTIONAL
    problems = []
    for rule in [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]:
        for peer in [*rule.get("from", []), *rule.get("to", [])]:
            selector = peer.get("podSelector", {})
            named = set(selector.get("matchLabels", {}).values())
            named |= {value for part in selector.get("matchExpressions", []) for value in part["values"]}
            problems += [f"{name_of(policy)}: no pod is {name!r}" for name in sorted(named - there)]
    return problems


def _other_reference_problems(found: Sequence[Object], accounts: set[str], kept: Mapping) -> list[str]:
    roles = {one["metadata"]["name"] for one in found if one["kind"] == "Role"}
    templates = {one["metadata"]["name"]: one for one in found if one["kind"] == "WorkflowTemplate"}
    clusters = {one["metadata"]["name"] for one in found if one["kind"] == "RayCluster"}
    problems = []
    for one in found:
        spec = one.get("spec", {})
        if one["kind"] == "RoleBinding":
            problems += [] if one["roleRef"]["name"] in roles else [f"{name_of(one)}: no such Role"]
            problems += [
                f"{name_of(one)}: no such ServiceAccount" for s in one["subjects"] if s["name"] not in accounts
            ]
        elif one["kind"] == "RayCluster":
            problems += _missing(name_of(one), "Secret", spec["authOptions"]["secretName"], "auth_token", kept)
            password = (
                spec.get("gcsFaultToleranceOptions", {})
                .get("redisPassword", {})
                .get("valueFrom", {})
                .get("secretKeyRef")
            )
            problems += _missing(name_of(one), "Secret", password["name"], password["key"], kept) if password else []
        elif one["kind"] == "RayJob" and spec["clusterSelector"]["ray.io/cluster"] not in clusters:
            problems.append(f"{name_of(one)}: no such RayCluster")
        elif one["kind"] == "CronWorkflow":
            template = templates.get(spec["workflowSpec"]["workflowTemplateRef"]["name"])
            known = {p["name"] for p in template["spec"]["arguments"]["parameters"]} if template else set()
            given = {p["name"] for p in spec["workflowSpec"]["arguments"]["parameters"]}
            problems += [f"{name_of(one)}: the template has no parameter {name}" for name in sorted(given - known)]
        elif one["kind"] == "WorkflowTemplate":
            problems += _workflow_problems(one, accounts)
        elif one["kind"] == "ConfigMap" and one["metadata"]["name"] == "artifact-repositories":
            for store in one["data"].values():
                for reference in (yaml.safe_load(store)["s3"][key] for key in ("accessKeySecret", "secretKeySecret")):
                    problems += _missing(name_of(one), "Secret", reference["name"], reference["key"], kept)
    return problems


def _workflow_problems(template: Object, accounts: set[str]) -> list[str]:
    spec, where = template["spec"], name_of(template)
    parameters = spec["arguments"]["parameters"]
    declared, text = {p["name"] for p in parameters}, yaml.safe_dump(spec["templates"])
    text = text.replace("{{workflow.parameters.json}}", "")  # all of them
    used = set(re.findall(r"\{\{workflow\.parameters\.([\w-]+)\}\}", text))
    problems = [f"{where}: parameter {name} is declared or used, not both" for name in sorted(declared ^ used)]
    problems += [f"{where}: parameter {p['name']} has no description" for p in parameters if not p.get("description")]
    problems += [f"{where}: parameter {p['name']} has no default" for p in parameters if "value" not in p]
    problems += [
        f"{where}: {p['name']}: the default is no choice"
        for p in parameters
        if p["value"] not in p.get("enum", [p["value"]])
    ]
    if spec["executor"]["serviceAccountName"] not in accounts:
        problems.append(f"{where}: the executor's ServiceAccount does not exist")
    steps = {step["name"] for step in spec["templates"]}
    for step in spec["templates"]:
        for task in step.get("dag", {}).get("tasks", []):
            if not {task["template"], *task.get("dependencies", [])} <= steps:
                problems.append(f"{where}: task {task['name']} names a step that is not there")
        for script in step.get("container", {}).get("args", []):
            if "{{" in script:
                problems.append(f"{where}: step {step['name']} writes a parameter into its script")
    return problems


# --- network ---


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    return all(
        part["operator"] == "In" and labels.get(part["key"]) in part["values"]
        for part in selector.get("matchExpressions", [])
    )


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


# --- keeping ---

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


def ray_version() -> str:
    return re.search(r"^ray==(.+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)[1]


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
