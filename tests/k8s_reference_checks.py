"""Checks that what one Kubernetes object names exists in another. Each returns what is wrong."""

import re
from collections.abc import Mapping, Sequence

import yaml
from k8s_objects import COMPONENT, Object, Pod, matches, name_of, pods, secrets

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
OPTIONAL = {
    "rayjob-submitter",
    "serve",
    "serve-check",
}  # components that policies of others may name where they are away


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
