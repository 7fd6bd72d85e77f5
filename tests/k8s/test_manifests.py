"""The manifests: what is rendered is complete, safe, and means the same thing in every place. See k8s_checks."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import k8s_network_checks
import k8s_objects
import pytest
import typer
import yaml
from k8s_checks import all_problems
from k8s_components import COMPONENTS, EVERY_USE, with_component
from k8s_objects import K8S, REPOSITORY, Object, objects, rendered, secrets, tool
from k8s_schemas import crd_folder, schema_problems, validators

from dream.cli.main import app
from dream.cli.promotion import _GRACE_SECONDS as GRACE_SECONDS
from dream.settings import Settings

OVERLAYS = ("k8s/overlays/laptop", "k8s/overlays/production")
FOLDERS = sorted(str(path.parent.relative_to(REPOSITORY)) for path in K8S.rglob("kustomization.yaml"))
CI = sorted((REPOSITORY / ".github/workflows").glob("*.yaml"))
OPTIONAL = ("rayjob", "vllm", "tei", "monitoring", "serve")
BUILT = [folder for folder in FOLDERS if "/components/" not in folder and folder != "k8s/site"]


def overlay(name: str) -> list[Object]:
    return objects(rendered(f"k8s/overlays/{name}"))


def rest_of(name: str, changed: list[Object], folder: str, leaves_out: tuple[str, ...] = ()) -> list[Object]:
    """An overlay with one of its folders changed and others left out."""
    gone = [objects(rendered(f"k8s/overlays/{name}/{one}")) for one in (folder, *leaves_out)]
    own = {(one["kind"], one["metadata"]["name"]) for found in gone for one in found}
    return [*changed, *(one for one in overlay(name) if (one["kind"], one["metadata"]["name"]) not in own)]


# --- everything, in both overlays ---


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


# What the checks cannot know: pods of operators and of folders left out, a host that is in a Secret, calls that only
# the gateway on Ray makes, and the memory of a GPU node.
EXPECTED = {
    "operators-inside": ("no pod is", "selects no pod"),
    "external-postgres": ("no pod is", "selects no pod", "MLFLOW_BACKEND_STORE_URI: no Service postgres-rw"),
    "tei-endpoint": ("StatefulSet jupyter DREAM_ENDPOINT_", "WorkflowTemplate dream", "quota "),
    "vllm-endpoint": ("StatefulSet jupyter DREAM_ENDPOINT_VLLM", "WorkflowTemplate dream", "quota ", "RayService "),
}


def test_no_component_is_left_out_of_the_tests():
    assert set(COMPONENTS) == {path.name for path in (K8S / "components").iterdir()}


@pytest.mark.whole
@pytest.mark.parametrize(("component", "folder", "name"), EVERY_USE)
def test_a_component_in_an_overlay_swaps_one_part_and_nothing_breaks(
    tmp_path: Path, component: str, folder: str, name: str
):
    changed = with_component(tmp_path, folder, component, name)
    assert schema_problems(changed) == []
    found = rest_of(name, changed, folder, COMPONENTS[component][1])
    if component.endswith("-endpoint"):
        found = [*found, *objects(rendered(f"k8s/{component.removesuffix('-endpoint')}"))]
    expected = EXPECTED.get(component, ("no pod is", "selects no pod") if COMPONENTS[component][1] else ())
    assert [one for one in all_problems(found) if not any(text in one for text in expected)] == []


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_cloudnative_pg_takes_the_place_of_the_stateful_set(tmp_path: Path, name: str):
    changed = with_component(tmp_path, "postgres", "cloudnative-pg", name, first=True)
    (cluster,) = (one for one in changed if one["kind"] == "Cluster")
    assert {one["kind"] for one in changed} == {"Cluster", "NetworkPolicy"}
    assert cluster["spec"]["storage"].get("storageClass") == ("ssd" if name == "production" else None)


def test_the_vllm_component_names_the_service_that_vllm_makes(tmp_path: Path):
    changed = with_component(tmp_path, "platform", "vllm-endpoint", "production")
    found = [*rest_of("production", changed, "platform"), *objects(rendered("k8s/vllm"))]
    assert ("ray", "llm-serve-svc", 8000) in k8s_network_checks.needed(found)
    assert [p for p in k8s_network_checks.network_problems(found) if p.startswith("RayCluster")] == []


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_the_tei_component_names_the_servers_and_dream_takes_its_settings(tmp_path: Path, name: str):
    from dream.settings import Settings

    changed = with_component(tmp_path, "platform", "tei-endpoint", name)
    found = [*rest_of(name, changed, "platform"), *objects(rendered("k8s/tei"))]
    assert {("ray", "tei-embed", 8080), ("ray", "tei-rerank", 8080)} <= set(k8s_network_checks.needed(found))
    assert [p for p in k8s_network_checks.network_problems(found) if p.startswith("RayCluster")] == []
    (models,) = (
        one["data"] for one in found if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "dream-models"
    )
    endpoints = {one.name: one for one in Settings.from_environment(models).endpoints}
    assert endpoints["tei"].base_url.endswith("/v1")
    for pod in k8s_objects.pods(objects(rendered("k8s/tei"))):
        (batch,) = re.findall(r"--max-client-batch-size=(\d+)", " ".join(pod.containers()[0]["args"]))
        assert int(batch) >= (endpoints["tei"].embed_batch_size or 0)


@pytest.mark.parametrize("name", ["laptop", "production"])
@pytest.mark.parametrize("models", ["vllm", "tei"])
def test_a_winner_with_models_of_ones_own_reaches_them(tmp_path: Path, models: str, name: str):
    """The gateway of `dream serve`, and of its check, is in the pods themselves and not on Ray."""
    changed = with_component(tmp_path, "platform", f"{models}-endpoint", name)
    served = [*objects(rendered(f"k8s/{models}")), *objects(rendered(f"k8s/overlays/{name}/serve"))]
    found = [*rest_of(name, changed, "platform"), *served]
    asked = {host for component, host, _ in k8s_network_checks.needed(found) if component in ("serve", "serve-check")}
    assert asked & {"llm-serve-svc", "tei-embed"}
    assert [one for one in k8s_network_checks.network_problems(found) if "serve" in one.split(" DREAM_")[0]] == []


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_answers_are_traced_where_the_trials_are_but_in_an_experiment_of_their_own(tmp_path: Path, name: str):
    found = with_component(tmp_path, "serve", "serve-traces", name)
    (pod,) = (one for one in k8s_objects.pods(found) if one.owner == "Deployment serve")
    (container,) = pod.containers()
    command = typer.main.get_group(app).commands["serve"]
    assert command.make_context("serve", [*container["args"][1:]]).params["traces"] == 0.1
    values = k8s_objects.environment(pod, [*overlay(name), *found])
    assert values["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert values["MLFLOW_EXPERIMENT_NAME"] != Settings.from_environment({}).mlflow_experiment
    (ways,) = (one for one in found if one["metadata"]["name"] == "serve-traces")
    without = [one for one in [*overlay(name), *found] if one is not ways]
    assert any("stop serve -> mlflow:5000" in one for one in k8s_network_checks.network_problems(without))


@pytest.mark.parametrize("component", ["external-s3", "external-mlflow"])
def test_services_elsewhere_may_be_asked_by_all_who_ask_those_inside(tmp_path: Path, component: str):
    inside = {"external-s3": ("minio", 9000), "external-mlflow": ("mlflow", 5000)}[component]
    found = [*overlay("production"), *with_component(tmp_path, "serve", "serve-traces", "production")]
    target = {k8s_objects.COMPONENT: inside[0]}
    asking = {
        pod.labels[k8s_objects.COMPONENT]
        for pod in k8s_objects.pods(found)
        if k8s_network_checks.let_through(found, pod.labels, target, inside[1])
    }
    (policy,) = objects((K8S / "components" / component / "network.yaml").read_text())
    (expression,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert asking - {"minio-setup", inside[0]} == set(expression["values"])


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_every_volume_is_on_the_storage_class_of_the_installation(name: str):
    claims = [claim["spec"] for pod in k8s_objects.pods(overlay(name)) for claim in pod.claims]
    assert {claim.get("storageClassName") for claim in claims} == ({"ssd"} if name == "production" else {None})


def with_site(tmp_path: Path, folder: str, component: str) -> list[Object]:
    """A folder of the checkout with another image and one of the components in k8s/site."""
    copy = tmp_path / "k8s"
    shutil.copytree(K8S, copy)
    site = yaml.safe_load((copy / "site/kustomization.yaml").read_text())
    site["images"][0]["newName"] = "registry.example.com/dream"
    site["components"] = [f"../components/{component}"]
    (copy / "site/kustomization.yaml").write_text(yaml.safe_dump(site))
    return objects(rendered(str(copy / folder.removeprefix("k8s/"))))


@pytest.mark.parametrize("folder", [*OVERLAYS, "k8s/rayjob", "k8s/vllm", "k8s/tei", "k8s/serve"])
def test_the_image_and_the_pull_secret_are_set_in_one_place(tmp_path: Path, folder: str):
    made = list(k8s_objects.pods(with_site(tmp_path, folder, "pull-secret")))
    assert [pod.owner for pod in made if pod.spec.get("imagePullSecrets") != [{"name": "registry"}]] == []
    images = {c["image"] for pod in made for c in pod.containers() if c["name"] not in ("init", "wait", "autoscaler")}
    assert [image for image in images if image.startswith("dream:")] == []
    assert any(image == "registry.example.com/dream:0.1.0" for image in images) or folder in ("k8s/vllm", "k8s/tei")


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_with_roles_of_aws_no_pod_needs_a_key_of_s3(tmp_path: Path, name: str):
    changed = with_site(tmp_path, f"k8s/overlays/{name}", "aws-identity")
    changed += objects(rendered(str(tmp_path / f"k8s/overlays/{name}/serve")))
    found = [one for one in changed if one["metadata"]["name"] not in ("minio", "minio-setup")]
    taken = [(pod.owner, s["secretRef"]) for pod in k8s_objects.pods(found) for c in pod.containers()
             for s in c.get("envFrom", []) if s.get("secretRef", {}).get("name", "").endswith("-s3")]  # fmt: skip
    assert len(taken) >= 15
    assert [owner for owner, secret in taken if not secret.get("optional")] == []


def test_the_bucket_of_reports_has_the_prefix_of_the_others(tmp_path: Path):
    for name in ("laptop", "production"):
        for found in (overlay(name), with_component(tmp_path, "platform", "external-s3", name)):
            maps = {one["metadata"]["name"]: one["data"] for one in found if one["kind"] == "ConfigMap"}
            bucket = yaml.safe_load(maps["artifact-repositories"]["reports"])["s3"]["bucket"]
            assert bucket == maps["dream-env"]["DREAM_BUCKET_PREFIX"] + "reports"


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


# --- schemas ---


@pytest.mark.parametrize(
    "folder", [*OVERLAYS, "k8s/rayjob", "k8s/vllm", "k8s/monitoring", "k8s/serve", "argocd", "argocd/apps"]
)
def test_custom_resources_are_valid_to_the_last_field(folder: str):
    assert schema_problems(objects(rendered(folder))) == []


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What kubectl-validate, which holds the API server's own code, says of each file; "" when it takes all of it."""
    program = tool("KUBECTL_VALIDATE_BINARY", "kubectl-validate", "check the manifests as an API server does")
    validators()  # skips where there are no CRDs
    folder = tmp_path_factory.mktemp("api")
    (folder / "crds").mkdir()
    (folder / "given").mkdir()
    for path in crd_folder().glob("*/*.json"):
        (folder / "crds" / f"{path.stem}.yaml").write_text(path.read_text())
    laptop = rendered("k8s/overlays/laptop")
    files = {
        "laptop": laptop,
        "production": rendered("k8s/overlays/production"),
        "optional": "---\n".join(rendered(f"k8s/{name}") for name in OPTIONAL),
        "argocd": rendered("argocd") + "---\n" + rendered("argocd/apps"),
        "typo": laptop.replace("startupProbe:", "startupProb:", 1),
        "rule": rendered("k8s/rayjob").replace("submissionMode:", "managedBy: nobody\n  submissionMode:"),
    }
    for name, text in files.items():
        (folder / "given" / f"{name}.yaml").write_text(text)
    command = [program, "--version", "1.30", "--local-crds", str(folder / "crds"), str(folder / "given")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    said = re.split(r"\S*/given/(\w+)\.yaml\S*\.\.\.", done.stdout)
    return {name: "" if "OK" in text[:12] else text for name, text in zip(said[1::2], said[2::2], strict=True)}


@pytest.mark.parametrize("name", ["laptop", "production", "optional", "argocd"])
def test_an_api_server_would_take_every_object(api_server: dict[str, str], name: str):
    assert api_server[name] == ""


def test_a_wrong_field_of_a_built_in_kind_is_caught(api_server: dict[str, str]):
    assert "startupProb" in api_server["typo"]


def test_a_value_that_a_rule_of_the_crd_forbids_is_caught(api_server: dict[str, str]):
    assert "managedBy field value must be" in api_server["rule"]


# --- the checks can fail: a typo in twenty places ---

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


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("rayVersion: ", "rayVersio: "),
        ("minReplicas: 1", "minReplica: 1"),
        ("maxReplicas: 1", 'maxReplicas: "one"'),
        ("retryStrategy:", "retryStrateg:"),
        ("schedules:", "schedule:"),
        ("num-cpus:", "num-cpu:"),
    ],
)
def test_a_wrong_field_of_a_custom_resource_is_caught(right: str, wrong: str):
    text = rendered("k8s/overlays/laptop")
    assert right in text
    assert schema_problems(objects(text.replace(right, wrong, 1))) != []


def test_a_quota_that_is_too_small_for_all_workers_is_caught():
    text = rendered("k8s/overlays/production").replace("maxReplicas: 16", "maxReplicas: 40")
    assert any(problem.startswith("quota") for problem in all_problems(objects(text)))


# --- versions and places that must agree ---


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
    from dream.settings import Settings

    settings = Settings.from_environment({"S3_ENDPOINT_URL": "http://minio:9000"})
    return [settings.documents_uri, settings.golden_datasets_uri, settings.experiments_uri]


def test_dream_takes_the_settings_that_each_pod_gets():
    from dream.settings import Settings

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


# --- secrets ---


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


def test_every_secret_that_a_manifest_names_is_in_the_install_page():
    page = (REPOSITORY / "INSTALL.md").read_text()
    named = {
        one for folder in BUILT for one in re.findall(r"secretKeyRef:\n\s+key: \S+\n\s+name: (\S+)", rendered(folder))
    }
    named |= {one for folder in BUILT for one in re.findall(r"secretRef:\n\s+name: (\S+)", rendered(folder))}
    assert {name for name in named if f"`{name}`" not in page} == set()


def test_a_model_key_with_odd_characters_arrives_whole():
    odd = 'a"b=c'
    text = subprocess.run(
        [K8S / "secrets.sh"], capture_output=True, text=True, check=True, env={**os.environ, "OPENAI_API_KEY": odd}
    )
    keys = next(one for one in objects(text.stdout) if one["metadata"]["name"] == "dream-model-keys")
    assert keys["stringData"]["OPENAI_API_KEY"] == odd


# --- documentation ---


@pytest.mark.parametrize("folder", [folder for folder in BUILT if "overlays" not in folder])
def test_each_folder_says_what_it_is_which_version_what_changed_and_what_comes_first(folder: str):
    text = (REPOSITORY / folder / "kustomization.yaml").read_text()
    for heading in ("# What: ", "# Version", "Changed: ", "# First: "):
        assert heading in text, heading


def test_the_yaml_is_tidy():
    pytest.importorskip("yamllint")
    command = [sys.executable, "-m", "yamllint", "--strict", "k8s", "argocd", ".github"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shell_scripts_parse():
    scripts = [K8S / "secrets.sh", REPOSITORY / ".ci/run", *sorted(K8S.glob("*.sh"))]
    for script in scripts:
        assert subprocess.run(["bash", "-n", script]).returncode == 0, script
    jobs = [job for path in CI for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()]
    texts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    template = yaml.safe_load((K8S / "workflows/template.yaml").read_text(encoding="utf-8"))["spec"]
    texts += [step["container"]["args"][0] for step in template["templates"] if "container" in step]
    for text in texts:
        done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), text


def test_ci_gives_dream_commands_that_it_takes():
    text = (REPOSITORY / ".github/workflows/cluster.yaml").read_text(encoding="utf-8")
    text = text.replace('"\n          run="$run', "")  # one command in two lines of the shell
    given = re.findall(r"(?:-- |=\"|run: )dream (\w+)([^\"\n]*)", text)
    commands = typer.main.get_group(app).commands
    for name, options in given:
        commands[name].make_context(name, shlex.split(options.split(" > ")[0]))
    assert {name for name, _ in given} == {"doctor", "run", "export"}


def test_ci_runs_actions_by_commit():
    """Tags of actions move, and have been moved to somebody else's code; the tag beside it is for people."""
    used = [line for path in (REPOSITORY / ".github").rglob("*.yaml") for line in path.read_text().splitlines()]
    used = [line.split("uses:")[1].strip() for line in used if "uses:" in line]
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []


@pytest.mark.parametrize("path", ["INSTALL.md", ".github/workflows/cluster.yaml"])
def test_what_the_install_page_and_ci_name_is_there(path: str):
    """Folders, notebooks, and the scheduled Jobs from which others are started by hand."""
    text = (REPOSITORY / path).read_text()
    named = {one.rstrip("./") for one in re.findall(r"(?<![\w/.])(?:k8s|argocd)/[\w/.-]+", text) if "..." not in one}
    assert len(named) > 5
    made_by_the_reader = {"k8s/secrets/sealed.yaml"}
    assert {one for one in named - made_by_the_reader if not (REPOSITORY / one).exists()} == set()
    for notebook in re.findall(r"/home/jupyter/(notebooks/[\w.]+)", text):
        assert (REPOSITORY / notebook).exists()
    scheduled = {one["metadata"]["name"] for one in overlay("laptop") if one["kind"] == "CronJob"}
    started = set(re.findall(r"--from=cronjob/([\w-]+)", text))
    assert started and started <= scheduled


def test_a_job_that_people_start_can_be_started_again():
    """A Job of a fixed name is "unchanged" the second time and does nothing; those by hand come from a CronJob."""
    jobs = {
        one["metadata"]["name"]: one["metadata"].get("annotations", {})
        for folder in BUILT
        for one in objects(rendered(folder))
        if one["kind"] == "Job"
    }
    assert [name for name, annotations in jobs.items() if "argocd.argoproj.io/hook" not in annotations] == []
    assert set(jobs) == {"minio-setup", "serve-check"}
    page = (REPOSITORY / "INSTALL.md").read_text()
    assert [name for name in jobs if f"kubectl -n dream delete job {name}" not in page] == []


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
    from dream.settings import Settings

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


def test_sign_on_is_the_only_way_in_and_each_name_is_the_same_in_every_place(tmp_path: Path):
    """A route, a proxy, a listener with a certificate, and MLflow's own word that a browser may come from there."""
    found = rest_of("production", with_component(tmp_path, "mlflow", "sign-on", "production"), "mlflow")
    (gateway,) = objects((K8S / "components/sign-on/gateway.yaml").read_text())
    listeners = {one["name"]: one for one in gateway["spec"]["listeners"]}
    routes = [one["spec"] for one in found if one["kind"] == "HTTPRoute"]
    assert {route["parentRefs"][0]["sectionName"] for route in routes} == set(listeners)
    (proxy,) = (pod for pod in k8s_objects.pods(found) if pod.owner == "Deployment sign-on")
    (service,) = (one["spec"] for one in found if one["kind"] == "Service" and one["metadata"]["name"] == "sign-on")
    reached = {port["port"]: port["targetPort"] for port in service["ports"]}
    for route in routes:
        name = route["parentRefs"][0]["sectionName"]
        assert route["hostnames"] == [listeners[name]["hostname"]]
        assert listeners[name]["tls"]["certificateRefs"]
        ((backend,),) = (rule["backendRefs"] for rule in route["rules"])
        assert (backend["name"], reached[backend["port"]]) == ("sign-on", name)
    assert {c["name"] for c in proxy.containers()} == set(listeners)
    for container in proxy.containers():
        assert {"--provider=oidc", "--allowed-group=dream", "--reverse-proxy=true"} <= set(container["args"])
        assert not any("skip-auth" in arg or "insecure" in arg for arg in container["args"])
    (mlflow,) = (pod for pod in k8s_objects.pods(found) if pod.owner == "Deployment mlflow")
    origin = k8s_objects.environment(mlflow, found)["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"]
    assert origin == f"https://{listeners['mlflow']['hostname']}"


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_a_queue_of_kueue_gets_a_ray_cluster_that_kueue_takes_and_that_fits_its_share(tmp_path: Path, name: str):
    """Kueue's webhook refuses an autoscaler, and what is larger than its share may wait for ever."""
    queues = objects((K8S / "components/kueue/queues.yaml").read_text())
    names = {(one["kind"], one["metadata"]["name"]): one["spec"] for one in queues if "spec" in one}
    made = with_component(tmp_path, "ray", "kueue", name)
    (cluster,) = (one for one in made if one["kind"] == "RayCluster")
    queue = names["LocalQueue", cluster["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]]
    assert cluster["spec"]["enableInTreeAutoscaling"] is False
    sizes = [group["replicas"] for group in cluster["spec"]["workerGroupSpecs"]]
    assert sizes == [1 if name == "laptop" else 4]
    (group,) = names["ClusterQueue", queue["clusterQueue"]]["resourceGroups"]
    share = {one["name"]: k8s_objects.quantity(one["nominalQuota"]) for one in group["flavors"][0]["resources"]}
    for what, quota in share.items():
        pods = zip(k8s_objects.pods([cluster]), [1, *sizes], strict=True)
        asked = sum(
            n * sum(k8s_objects.quantity(c["resources"]["requests"][what]) for c in pod.containers()) for pod, n in pods
        )
        assert asked <= quota, what


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_spot_nodes_are_for_workers_alone(tmp_path: Path, name: str):
    (cluster,) = (one for one in with_component(tmp_path, "ray", "spot-workers", name) if one["kind"] == "RayCluster")
    head, (workers,) = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    assert "tolerations" not in head["template"]["spec"]
    assert {one["key"] for one in workers["template"]["spec"]["tolerations"]} >= {"cloud.google.com/gke-spot"}


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
