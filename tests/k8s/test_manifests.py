"""The manifests: what is rendered is complete, safe, and means the same thing in every place. See k8s_checks."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import k8s_objects
import pytest
import typer
import yaml
from k8s_checks import all_problems
from k8s_objects import BUILT, K8S, OVERLAYS, REPOSITORY, Object, objects, overlay, rendered, secrets, tool

from dream.cli.main import app
from dream.cli.promotion import _GRACE_SECONDS as GRACE_SECONDS
from dream.settings import Settings


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_an_overlay_has_no_fault(name: str):
    assert all_problems(overlay(name)) == []


@pytest.mark.parametrize("folder", BUILT)
def test_each_folder_builds_alone_and_into_one_namespace(folder: str):
    outside = [
        one
        for one in objects(rendered(folder))
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != "dream"
    ]
    assert outside == []


@pytest.mark.parametrize("folder", [*OVERLAYS, "argocd/apps"])
def test_building_twice_gives_the_same(folder: str):
    program = tool("KUSTOMIZE_BINARY", "kustomize", "render the manifests")
    again = subprocess.run([program, "build", folder], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert again.stdout == rendered(folder)


@pytest.mark.parametrize("name", ["laptop", "production"])
@pytest.mark.parametrize("folder", ["k8s/rayjob", "k8s/monitoring", "k8s/overlays/{}/serve"])
def test_an_optional_folder_has_no_fault_on_top_of_the_rest_and_fits_the_quota(folder: str, name: str):
    assert all_problems([*overlay(name), *objects(rendered(folder.format(name)))]) == []


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_every_volume_is_on_the_storage_class_of_the_installation(name: str):
    claims = [claim["spec"] for pod in k8s_objects.pods(overlay(name)) for claim in pod.claims]
    assert {claim.get("storageClassName") for claim in claims} == ({"ssd"} if name == "production" else {None})


LAPTOP = 10e9


def test_the_laptop_overlay_fits_a_node_with_10_gb():
    """Everything that may run at once is counted: what lasts, the served winner, a step, the operators, the system."""
    found = [*overlay("laptop"), *objects(rendered("k8s/overlays/laptop/serve"))]
    steps = [pod for pod in k8s_objects.pods(found) if pod.owner.startswith("WorkflowTemplate")]
    running = [*(pod for pod in k8s_objects.pods(found) if not pod.job), *steps[:1]]
    requested = sum(memory(c) for pod in running for c in pod.spec["containers"])
    for name in ("kuberay-operator", "argo-workflows"):
        values = k8s_objects.operator_values(name)
        parts = [values] if "resources" in values else [values["controller"], values["server"]]
        requested += sum(memory(part) for part in parts)
    kubernetes = 0.6 * 2**30  # requests of kube-system on kind and minikube, with a network plugin
    assert requested + kubernetes < 0.9 * LAPTOP


def memory(container: Object) -> float:
    return k8s_objects.quantity(container["resources"]["requests"]["memory"])


TYPOS = [
    ("image: docker.io/pgsty/silo:RELEASE.2026-09-16T00-00-00Z@", "image: docker.io/pgsty/silo:latest@"),
    ("name: dream-s3", "name: dream-s4"),
    ("key: auth_token", "key: authtoken"),
    ("name: dream-client", "name: dream-clients"),
    ("serviceAccountName: jupyter", "serviceAccountName: jupiter"),
    ("S3_ENDPOINT_URL: http://minio:9000", "S3_ENDPOINT_URL: http://minio:9001"),
    ("RAY_ADDRESS: ray://dream-head-svc:10001", "RAY_ADDRESS: ray://dream-head:10001"),
    ("MLFLOW_TRACKING_URI: http://mlflow:5000", "MLFLOW_TRACKING_URI: http://mlflw:5000"),
    ("value: postgres-rw", "value: postgres"),
    ("targetPort: s3", "targetPort: s4"),
    ("          - mlflow\n          - backup", "          - mlfow\n          - backup"),
    ("port: 10001\n", "port: 10002\n"),
    ("rayVersion: 2.60.0", "rayVersion: 2.59.0"),
    ("secretName: ray-token", "secretName: ray-tokens"),
    ("enableServiceLinks: false", "enableServiceLinks: true"),
    ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
    ("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"),
    ("runAsNonRoot: true", "runAsNonRoot: false"),
    ("type: RuntimeDefault", "type: Unconfined"),
    ("whenDeleted: Retain", "whenDeleted: Delete"),
    ("maxUnavailable: 1", "minAvailable: 1"),
    ("requests.memory: 10Gi", "requests.memory: 3Gi"),
    ("mountPath: /data\n          name: data", "mountPath: /data\n          name: daten"),
    ("{{workflow.parameters.golden}}", "{{workflow.parameters.goldn}}"),
    ("path: /health\n            port: http", "path: /health\n            port: htp"),
    ("containerPort: 8265", "containerPort: 8266"),
    ("name: pipeline-executor\nsubjects", "name: pipeline-exec\nsubjects"),
    ("num-cpus: \"0\"", "num-cpus: \"2\""),
    ("  podSelector: {}\n  policyTypes:\n  - Ingress\n", "  podSelector: {}\n  policyTypes:\n"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong"), TYPOS)
def test_a_typo_is_caught(right: str, wrong: str):
    text = rendered("k8s/overlays/laptop")
    assert right in text
    assert all_problems(objects(text.replace(right, wrong, 1))) != []


def test_a_quota_that_is_too_small_for_all_workers_is_caught():
    text = rendered("k8s/overlays/production").replace("maxReplicas: 16", "maxReplicas: 40")
    assert any(problem.startswith("quota") for problem in all_problems(objects(text)))


def test_ray_is_the_same_version_everywhere():
    dockerfile = (K8S / "image/Dockerfile").read_text()
    assert re.search(r"^ARG RAY_VERSION=(.+)$", dockerfile, re.MULTILINE)[1] == k8s_objects.ray_version()
    (service,) = (
        one["spec"]["rayClusterConfig"] for one in objects(rendered("k8s/vllm")) if one["kind"] == "RayService"
    )
    images = {c["image"] for pod in k8s_objects.pods(objects(rendered("k8s/vllm"))) for c in pod.containers()}
    assert {re.search(r"ray-llm:([\d.]+)-py312-cu130$", image)[1] for image in images} == {service["rayVersion"]}
    assert re.search(r"^ARG PYTHON=(.+)$", dockerfile, re.MULTILINE)[1] == "311"
    assert dockerfile.count("rayproject/ray:${RAY_VERSION}-py${PYTHON}") == 2


def test_the_image_has_the_version_of_the_package():
    version = re.search(r'^version = "(.+)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert f'image.version="{version}"' in (K8S / "image/Dockerfile").read_text()
    ours = [
        c["image"]
        for pod in k8s_objects.pods(overlay("laptop"))
        for c in pod.containers()
        if c["image"].startswith("dream")
    ]
    assert set(ours) == {f"dream:{version}"}


def test_what_the_image_copies_exists_and_is_not_ignored():
    copied = re.findall(
        r"^COPY (?!--from)(?:--chown=\S+ )?(.+) \S+$", (K8S / "image/Dockerfile").read_text(), re.MULTILINE
    )
    ignore = (REPOSITORY / ".dockerignore").read_text().split("\n")
    for name in " ".join(copied).split():
        assert (REPOSITORY / name).exists()
        assert f"!{name}" in ignore


def test_the_buckets_that_settings_and_manifests_name_are_made():
    text = (K8S / "minio/setup.py").read_text()
    made = set(re.findall(r'"([a-z-]+)"', re.search(r"DREAM_BUCKETS = .*\nBUCKETS = .*", text)[0]))
    prefix = r"(?:\$\(DREAM_BUCKET_PREFIX\)|\$\{DREAM_BUCKET_PREFIX:-\})"
    text = rendered("k8s/overlays/laptop")
    named = set(re.findall(rf"s3://{prefix}([a-z-]+)", text))
    assert re.findall(r"s3://[a-z-]+", text) == []  # none without the prefix
    settings = {one["metadata"]["name"]: one for one in overlay("laptop") if one["kind"] == "ConfigMap"}
    named.add(yaml.safe_load(settings["artifact-repositories"]["data"]["reports"])["s3"]["bucket"])
    named |= {uri.split("/")[2] for uri in default_uris()}
    assert named <= made


def default_uris() -> list[str]:

    settings = Settings.from_environment({"S3_ENDPOINT_URL": "http://minio:9000"})
    return [settings.documents_uri, settings.golden_datasets_uri, settings.experiments_uri]


def test_dream_takes_the_settings_that_each_pod_gets():

    seen = set()
    for pod in k8s_objects.pods(overlay("laptop")):
        values = k8s_objects.environment(pod, overlay("laptop"))
        if "MLFLOW_TRACKING_URI" in values:
            values = {k: v for k, v in values.items() if "{{" not in v}
            settings = Settings.from_environment(values)
            assert settings.s3_endpoint_url == "http://minio:9000"
            assert settings.mlflow_tracking_uri == "http://mlflow:5000"
            inside = pod.owner.startswith("RayCluster")
            assert settings.ray_address == (None if inside else "ray://dream-head-svc:10001")
            seen.add(pod.labels[k8s_objects.COMPONENT])
    assert seen == {"ray", "jupyter", "pipeline"}


def test_the_secrets_are_random_and_none_is_in_the_repository():
    first = secrets()
    k8s_objects.secrets.cache_clear()
    second = secrets()
    assert set(first) == set(second)
    same = {"dream", "reports", "mlflow", "backup"}  # user names
    for name, values in first.items():
        for key, value in values.items():
            assert value in same or (len(value) >= 13 and value != second[name][key]), (name, key)
    in_git = [one for folder in BUILT for one in objects(rendered(folder)) if one["kind"] == "Secret"]
    assert [one for one in in_git if one.get("data") or one.get("stringData")] == []


def test_a_model_key_with_odd_characters_arrives_whole():
    odd = 'a"b=c'
    text = subprocess.run(
        [K8S / "secrets.sh"], capture_output=True, text=True, check=True, env={**os.environ, "OPENAI_API_KEY": odd}
    )
    keys = next(one for one in objects(text.stdout) if one["metadata"]["name"] == "dream-model-keys")
    assert keys["stringData"]["OPENAI_API_KEY"] == odd


def test_another_winner_rolls_the_pods_and_the_check_asks_about_the_same_file(tmp_path: Path):
    names = []
    for number, text in enumerate(("# none\n", "method: another\n")):
        copy = tmp_path / str(number)
        shutil.copytree(K8S, copy)
        (copy / "serve/winner.yaml").write_text(text)
        found = objects(rendered(str(copy / "serve")))
        (winner,) = (one["metadata"]["name"] for one in found if one["kind"] == "ConfigMap")
        volumes = [volume for pod in k8s_objects.pods(found) for volume in pod.spec["volumes"]]
        assert {volume["configMap"]["name"] for volume in volumes if "configMap" in volume} == {winner}
        names.append(winner)
    assert names[0] != names[1]


def test_dream_takes_the_settings_that_the_served_pods_get():

    found = [*overlay("laptop"), *objects(rendered("k8s/serve"))]
    for pod in k8s_objects.pods(objects(rendered("k8s/serve"))):
        values = k8s_objects.environment(pod, found)
        settings = Settings.from_environment(values)
        assert settings.serve_token == secrets()["dream-serve"]["token"]
        assert (settings.cache_uri, settings.s3_endpoint_url) == ("s3://dream-cache", "http://minio:9000")


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_a_change_of_ray_reaches_pods_that_run(name: str):
    (cluster,) = (one["spec"] for one in overlay(name) if one["kind"] == "RayCluster")
    assert cluster["upgradeStrategy"] == {"type": "Recreate"}


def test_only_workflow_templates_are_run_and_argo_asks_for_nothing_from_the_internet():
    values = k8s_objects.operator_values("argo-workflows")
    assert values["controller"]["workflowRestrictions"] == {"templateReferencing": "Strict"}
    assert values["crds"] == {"full": False}
    (store,) = (one["data"] for one in overlay("laptop") if one["metadata"]["name"] == "artifact-repositories")
    keys = {yaml.safe_load(store["reports"])["s3"][key]["name"] for key in ("accessKeySecret", "secretKeySecret")}
    (role,) = (one for one in overlay("laptop") if one["kind"] == "Role" and one["metadata"]["name"] == "experimenter")
    readable = [rule for rule in role["rules"] if "secrets" in rule["resources"]]
    assert [(set(rule["resourceNames"]), rule["verbs"]) for rule in readable] == [(keys, ["get"])]


def test_every_way_to_the_api_server_is_open_on_all_its_usual_ports():
    folders = [*BUILT, *(f"k8s/components/{name}" for name in ("cloudnative-pg", "operators-inside"))]
    for folder in folders:
        for path in (REPOSITORY / folder).glob("*.yaml"):
            text = path.read_text()
            assert text.count("port: 6443}") == text.count("port: 8443}"), path


def test_no_autoscaler_of_nodes_ends_a_run_to_save_one():
    stays = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
    for name in ("laptop", "production"):
        found = {(one["kind"], one["metadata"]["name"]): one["spec"] for one in overlay(name) if "spec" in one}
        cluster = found["RayCluster", "dream"]
        templates = [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
        about = [one["metadata"] for one in (*templates, found["StatefulSet", "jupyter"]["template"])]
        about.append(found["WorkflowTemplate", "dream"]["podMetadata"])
        assert [one for one in about if not stays.items() <= one.get("annotations", {}).items()] == []


def test_a_served_answer_that_is_under_way_ends_before_the_pod_does():
    (pod,) = (one for one in k8s_objects.pods(objects(rendered("k8s/serve"))) if one.owner == "Deployment serve")
    (container,) = pod.containers()
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert int(seconds) + GRACE_SECONDS + 10 <= pod.spec["terminationGracePeriodSeconds"]


def test_the_check_of_a_winner_waits_as_long_as_its_rollout_may_take():
    found = {(one["kind"], one["metadata"]["name"]): one.get("spec", {}) for one in objects(rendered("k8s/serve"))}
    jobs = found["Job", "serve-check"], found["CronJob", "serve-nightly"]["jobTemplate"]["spec"]
    for job in jobs:
        (container,) = job["template"]["spec"]["containers"]
        asked = typer.main.get_group(app).commands["check"].make_context("check", [*container["args"][1:]]).params
        assert asked["wait"] == found["Deployment", "serve"]["progressDeadlineSeconds"] < job["activeDeadlineSeconds"]
