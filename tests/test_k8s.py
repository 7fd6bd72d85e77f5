"""The manifests: what is rendered is complete, safe, and means the same thing in every place. See k8s_checks."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import k8s_checks
import pytest
import yaml
from k8s_checks import K8S, REPOSITORY, Object, all_problems, objects, rendered, secrets, tool
from k8s_schemas import crd_folder, schema_problems, validators

OVERLAYS = ("k8s/overlays/laptop", "k8s/overlays/production")
FOLDERS = sorted(str(path.parent.relative_to(REPOSITORY)) for path in K8S.rglob("kustomization.yaml"))
BUILT = [folder for folder in FOLDERS if "/components/" not in folder]
APPLICATIONS = sorted((REPOSITORY / "argocd/apps").rglob("[0-9]*.yaml"))


def overlay(name: str) -> list[Object]:
    return objects(rendered(f"k8s/overlays/{name}"))


def with_component(tmp_path: Path, folder: str, component: str) -> list[Object]:
    """A folder with one of k8s/components added, as its heading says to use it."""
    place = tmp_path / "kustomization.yaml"
    relative = {name: os.path.relpath(REPOSITORY / "k8s" / name, tmp_path) for name in (folder, f"components/{component}")}
    place.write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: dream\n"
        f"resources: [{relative[folder]}]\ncomponents: [{relative['components/' + component]}]\n"
    )
    return objects(rendered(str(tmp_path)))


# --- everything, in both overlays ---


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_an_overlay_has_no_fault(name: str):
    assert all_problems(overlay(name)) == []


@pytest.mark.parametrize("folder", BUILT)
def test_each_folder_builds_alone_and_into_one_namespace(folder: str):
    outside = [one for one in objects(rendered(folder)) if one["kind"] != "Namespace" and one["metadata"].get("namespace") != "dream"]
    assert outside == []


@pytest.mark.parametrize("folder", [*OVERLAYS, "argocd/apps"])
def test_building_twice_gives_the_same(folder: str):
    program = tool("KUSTOMIZE_BINARY", "kustomize", "render the manifests")
    again = subprocess.run([program, "build", folder], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert again.stdout == rendered(folder)


@pytest.mark.parametrize("folder", ["k8s/rayjob", "k8s/restore", "k8s/monitoring"])
def test_an_optional_folder_has_no_fault_on_top_of_the_rest(folder: str):
    assert all_problems_but_quota([*overlay("production"), *objects(rendered(folder))]) == []


@pytest.mark.parametrize(
    ("folder", "component", "leaves_out"),
    [
        ("platform", "existing-namespace", ()),
        ("platform", "external-s3", ("minio", "minio-setup")),
        ("platform", "external-postgres", ()),
        ("platform", "external-mlflow", ("mlflow",)),
        ("postgres", "cloudnative-pg", ()),
        ("ray", "gcs-fault-tolerance", ()),
        ("jupyter", "ingress", ()),
        ("jupyter", "storage-class", ()),
    ],
)
def test_a_component_swaps_one_part_and_nothing_breaks(tmp_path: Path, folder: str, component: str, leaves_out: tuple):
    changed = with_component(tmp_path, folder, component)
    own = {(one["kind"], one["metadata"]["name"]) for one in objects(rendered(f"k8s/{folder}"))}
    rest = [one for one in overlay("laptop") if (one["kind"], one["metadata"]["name"]) not in own]
    rest = [one for one in rest if one["metadata"]["name"] not in leaves_out]
    assert schema_problems(changed) == []
    checks = [check for check in k8s_checks.CHECKS if check is not k8s_checks.reference_problems]
    found = [problem for check in checks for problem in check([*rest, *changed])]
    ignorable = [p for p in found if component == "cloudnative-pg" and "no Service postgres" in p]
    assert [problem for problem in found if problem not in ignorable] == []


def test_the_vllm_component_names_the_service_that_vllm_makes(tmp_path: Path):
    platform = with_component(tmp_path, "platform", "vllm-endpoint")
    own = {(one["kind"], one["metadata"]["name"]) for one in platform}
    rest = [one for one in overlay("production") if (one["kind"], one["metadata"]["name"]) not in own]
    found = [*rest, *platform, *objects(rendered("k8s/vllm"))]
    assert ("ray", "llm-serve-svc", 8000) in k8s_checks.needed(found)
    assert [p for p in k8s_checks.network_problems(found) if p.startswith("RayCluster")] == []


def all_problems_but_quota(found: list[Object]) -> list[str]:
    return [problem for check in k8s_checks.CHECKS for problem in check(found)]


def test_the_laptop_overlay_fits_a_node_with_8_gb():
    lasting = [pod for pod in k8s_checks.pods(overlay("laptop")) if not pod.job]
    requested = sum(k8s_checks.quantity(c["resources"]["requests"]["memory"]) for pod in lasting for c in pod.spec["containers"])
    operators_and_system = 1.2 * 2**30
    assert requested + operators_and_system < 8e9


# --- schemas ---


@pytest.mark.parametrize("folder", [*OVERLAYS, "k8s/rayjob", "k8s/vllm", "k8s/monitoring", "argocd", "argocd/apps"])
def test_custom_resources_are_valid_to_the_last_field(folder: str):
    assert schema_problems(objects(rendered(folder))) == []


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What kubectl-validate, which holds the API server's own code, says of each file; "" when it takes every object."""
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
        "optional": "---\n".join(rendered(f"k8s/{name}") for name in ("rayjob", "restore", "vllm", "monitoring")),
        "argocd": rendered("argocd") + "---\n" + rendered("argocd/apps"),
        "typo": laptop.replace("startupProbe:", "startupProb:", 1),
        "rule": rendered("k8s/rayjob").replace("submissionMode:", "managedBy: nobody\n  submissionMode:"),
    }
    for name, text in files.items():
        (folder / "given" / f"{name}.yaml").write_text(text)
    command = [program, "--version", "1.30", "--local-crds", str(folder / "crds"), str(folder / "given")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = re.split(r"\S*/given/(\w+)\.yaml\S*\.\.\.", done.stdout + done.stderr)
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
    ("image: docker.io/pgsty/minio:RELEASE.2026-08-04T00-00-00Z@", "image: docker.io/pgsty/minio:latest@"),
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
    ("requests.memory: 9Gi", "requests.memory: 3Gi"),
    ("mountPath: /data\n          name: data", "mountPath: /data\n          name: daten"),
    ("{{workflow.parameters.golden}}", "{{workflow.parameters.goldn}}"),
    ("path: /health\n            port: http", "path: /health\n            port: htp"),
    ("containerPort: 8265", "containerPort: 8266"),
    ("name: pipeline-executor\nsubjects", "name: pipeline-exec\nsubjects"),
    ("num-cpus: \"0\"", "num-cpus: \"2\""),
    ("name: default-deny", "name: default-deny\n  labels: {a: b}\nspec: {podSelector: {matchLabels: {x: y}}, policyTypes: []}\nx-rest:"),
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
    assert re.search(r"^ARG RAY_VERSION=(.+)$", dockerfile, re.MULTILINE)[1] == k8s_checks.ray_version()
    assert f"rayproject/ray-llm:{k8s_checks.ray_version()}-py311" in rendered("k8s/vllm")
    assert "rayproject/ray:${RAY_VERSION}-py311" in dockerfile


def test_the_image_has_the_version_of_the_package():
    version = re.search(r'^version = "(.+)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert f'image.version="{version}"' in (K8S / "image/Dockerfile").read_text()
    ours = [c["image"] for pod in k8s_checks.pods(overlay("laptop")) for c in pod.containers() if c["image"].startswith("dream")]
    assert set(ours) == {f"dream:{version}"}


def test_what_the_image_copies_exists_and_is_not_ignored():
    copied = re.findall(r"^COPY (?!--from)(?:--chown=\S+ )?(.+) \S+$", (K8S / "image/Dockerfile").read_text(), re.MULTILINE)
    ignore = (REPOSITORY / ".dockerignore").read_text().split("\n")
    for name in " ".join(copied).split():
        assert (REPOSITORY / name).exists()
        assert f"!{name}" in ignore


def test_the_buckets_that_settings_and_manifests_name_are_made():
    sys.path.insert(0, str(K8S / "minio"))
    text = (K8S / "minio/setup.py").read_text()
    made = set(re.findall(r'"([a-z-]+)"', re.search(r"DREAM_BUCKETS = .*\nBUCKETS = .*", text)[0]))
    named = set(re.findall(r"s3://([a-z-]+)", rendered("k8s/overlays/laptop")))
    named |= {yaml.safe_load(one["data"]["reports"])["s3"]["bucket"] for one in overlay("laptop") if one["metadata"]["name"] == "artifact-repositories"}  # fmt: skip
    named |= {uri.split("/")[2] for uri in default_uris()}
    assert named <= made


def default_uris() -> list[str]:
    from dream.settings import Settings

    settings = Settings.from_environment({"S3_ENDPOINT_URL": "http://minio:9000"})
    return [settings.documents_uri, settings.golden_datasets_uri, settings.experiments_uri]


def test_dream_takes_the_settings_that_each_pod_gets():
    from dream.settings import Settings

    seen = set()
    for pod in k8s_checks.pods(overlay("laptop")):
        values = k8s_checks.environment(pod, overlay("laptop"))
        if "MLFLOW_TRACKING_URI" in values:
            values = {k: v for k, v in values.items() if "{{" not in v}
            settings = Settings.from_environment(values)
            assert settings.s3_endpoint_url == "http://minio:9000"
            assert settings.mlflow_tracking_uri == "http://mlflow:5000"
            inside = pod.owner.startswith("RayCluster")
            assert settings.ray_address == (None if inside else "ray://dream-head-svc:10001")
            seen.add(pod.labels[k8s_checks.COMPONENT])
    assert seen == {"ray", "jupyter", "pipeline"}


# --- secrets ---


def test_the_secrets_are_random_and_none_is_in_the_repository():
    first = secrets()
    k8s_checks.secrets.cache_clear()
    second = secrets()
    assert set(first) == set(second)
    same = {"dream", "mlflow", "backup"}  # user names
    for name, values in first.items():
        for key, value in values.items():
            assert value in same or (len(value) >= 13 and value != second[name][key]), (name, key)
    with_values = [one for folder in BUILT for one in objects(rendered(folder)) if one["kind"] == "Secret" and (one.get("data") or one.get("stringData"))]  # fmt: skip
    assert with_values == []


def test_every_secret_that_a_manifest_names_is_in_the_install_page():
    page = (REPOSITORY / "INSTALL.md").read_text()
    named = {one for folder in BUILT for one in re.findall(r"secretKeyRef:\n\s+key: \S+\n\s+name: (\S+)", rendered(folder))}
    named |= {one for folder in BUILT for one in re.findall(r"secretRef:\n\s+name: (\S+)", rendered(folder))}
    assert {name for name in named if f"`{name}`" not in page} == set()


def test_a_model_key_with_odd_characters_arrives_whole():
    odd = 'a"b=c'
    text = subprocess.run([K8S / "secrets.sh"], capture_output=True, text=True, check=True, env={**os.environ, "OPENAI_API_KEY": odd})
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
    done = subprocess.run([sys.executable, "-m", "yamllint", "--strict", "k8s", "argocd", ".github"], cwd=REPOSITORY, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_shell_scripts_parse():
    scripts = [K8S / "secrets.sh", REPOSITORY / ".ci/run", *sorted(K8S.glob("*.sh"))]
    for script in scripts:
        assert subprocess.run(["bash", "-n", script]).returncode == 0, script


# --- workflow steps: run with a `dream` that writes down how it was called ---


def run_step(tmp_path: Path, step: str, **parameters: str) -> tuple[subprocess.CompletedProcess, list[list[str]]]:
    """One step's script with the parameters' defaults; `dream` and `python` are stand-ins that log and succeed."""
    template = next(one for one in overlay("laptop") if one["kind"] == "WorkflowTemplate")
    container = next(s for s in template["spec"]["templates"] if s["name"] == step)["container"]
    values = {p["name"]: p["value"] for p in template["spec"]["arguments"]["parameters"]} | {
        name.replace("_", "-"): value for name, value in parameters.items()
    }
    fill = lambda text: re.sub(r"\{\{workflow\.(?:parameters\.)?([\w-]+)\}\}", lambda m: values.get(m[1], "wf-1"), text)  # noqa: E731
    variables = {one["name"]: fill(one.get("value", "")) for one in container["env"]}
    log = tmp_path / "log"
    log.write_text("")
    for program, status in (("dream", 0), ("python", parameters.get("python_status", "1"))):
        body = f"#!{sys.executable}\nimport json, os, sys\n" + (
            f"open({str(log)!r}, 'a').write(json.dumps([sys.argv[1:], os.environ.get('DREAM_CACHE_URI', '')]) + '\\n')\n"
            if program == "dream"
            else f"sys.exit({status})\n"
        )
        (tmp_path / program).write_text(body)
        (tmp_path / program).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **variables}
    done = subprocess.run([*container["command"], *container["args"]], env=environment, capture_output=True, text=True, cwd=tmp_path)
    return done, [json.loads(line) for line in log.read_text().splitlines()]


def test_the_steps_run_one_after_another():
    template = next(one for one in overlay("laptop") if one["kind"] == "WorkflowTemplate")
    tasks = template["spec"]["templates"][0]["dag"]["tasks"]
    assert [task["name"] for task in tasks] == ["prepare", "golden", "plan", "run", "compare", "check"]
    assert [task.get("dependencies", []) for task in tasks] == [[], ["prepare"], ["golden"], ["plan"], ["run"], ["compare"]]


def test_with_no_parameter_a_step_uses_the_workflows_name_and_the_defaults(tmp_path: Path):
    done, calls = run_step(tmp_path, "run")
    assert done.returncode == 0, done.stderr
    assert calls == [[["run", "--resume", "wf-1", "--golden", "samples"], ""]]


def test_lists_become_repeated_options_and_fresh_answers_another_cache(tmp_path: Path):
    done, calls = run_step(tmp_path, "run", experiment="mine", llms="a@x b", metrics="faithfulness", fresh_answers="yes")
    assert done.returncode == 0, done.stderr
    flags = ["run", "--resume", "mine", "--golden", "samples", "--llm", "a@x", "--llm", "b", "--metric", "faithfulness"]
    assert calls == [[flags, "s3://dream-cache/fresh/mine"]]


def test_an_existing_golden_dataset_is_kept_and_a_missing_one_is_made(tmp_path: Path):
    assert run_step(tmp_path, "golden", golden="g", questions="7")[1] == [[["golden", "--questions", "7", "--name", "g"], ""]]
    assert run_step(tmp_path, "golden", golden="g", python_status="0")[1] == []


def test_sources_are_optional(tmp_path: Path):
    assert run_step(tmp_path, "prepare", sources="")[1] == []
    assert run_step(tmp_path, "prepare", sources="https://a/b https://c/d")[1] == [[["prepare", "https://a/b", "https://c/d"], ""]]


@pytest.mark.parametrize("step", ["prepare", "golden", "plan", "run", "compare", "check"])
def test_a_parameter_is_never_read_as_shell(tmp_path: Path, step: str):
    evil = "$(touch owned);touch owned;`touch owned`"
    names = ("experiment", "sources", "golden", "questions", "query_engines", "llms", "rank_by", "baseline", "margin")
    run_step(tmp_path, step, **dict.fromkeys(names, evil))
    assert not (tmp_path / "owned").exists()


# --- Argo CD ---


def test_every_application_leads_to_a_folder_that_builds():
    for one in objects(rendered("argocd/apps")):
        path = one["spec"]["source"].get("path")
        assert path is None or (REPOSITORY / path / "kustomization.yaml").is_file(), one["metadata"]["name"]


def test_both_overlays_have_the_folders_that_applications_ask_for():
    for file in APPLICATIONS:
        source = yaml.safe_load(file.read_text())["spec"]["source"]
        for name in ("laptop", "production"):
            path = source.get("path", "argocd").replace("set-by-settings", name)
            assert (REPOSITORY / path).is_dir(), (file.name, path)


def test_one_file_says_which_repository_revision_overlay_and_image():
    settings = yaml.safe_load((REPOSITORY / "argocd/settings/settings.yaml").read_text())["data"]
    made = [*objects(rendered("argocd")), *objects(rendered("argocd/apps"))]
    assert [one for one in made if "set-by-settings" in json.dumps(one)] == []
    for one in made:
        source = one["spec"].get("source", {})
        if one["kind"] == "Application" and "chart" not in source:
            assert (source["repoURL"], source["targetRevision"]) == (settings["repository"], settings["revision"])
    places = [path for folder in ("argocd", "k8s") for path in (REPOSITORY / folder).rglob("*.yaml") if settings["repository"] in path.read_text()]  # fmt: skip
    assert [path.name for path in places] == ["settings.yaml"]


def test_applications_converge_by_themselves_and_charts_are_pinned():
    for file in APPLICATIONS:
        spec = yaml.safe_load(file.read_text())["spec"]
        assert spec["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}, file.name
        assert spec["syncPolicy"]["retry"]["backoff"]["factor"] == 2, file.name
        assert "ServerSideApply=true" in spec["syncPolicy"]["syncOptions"], file.name
        if "chart" in spec["source"]:
            assert re.fullmatch(r"\d+\.\d+\.\d+", spec["source"]["targetRevision"]), file.name
        if "ignoreDifferences" in spec:
            assert "RespectIgnoreDifferences=true" in spec["syncPolicy"]["syncOptions"], file.name
            assert re.search(r"ignoreDifferences:\n +# ", file.read_text()), f"{file.name}: no reason beside it"


def test_waves_follow_what_needs_what():
    waves = {yaml.safe_load(f.read_text())["metadata"]["name"]: int(yaml.safe_load(f.read_text())["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]) for f in APPLICATIONS}  # fmt: skip
    order = ["dream-platform", "kuberay-operator", "dream-minio", "dream-mlflow", "dream-ray", "dream-jupyter", "dream-workflows"]
    assert [waves[name] for name in order] == sorted(waves[name] for name in order)
    assert waves["argo-workflows"] < waves["dream-workflows"]
    assert waves["dream-postgres"] < waves["dream-mlflow"]


def test_applications_with_data_have_no_finalizer():
    for file in APPLICATIONS:
        one = yaml.safe_load(file.read_text())
        holds_data = any(name in file.name for name in ("platform", "minio", "postgres", "jupyter", "kuberay", "argo-workflows", "cloudnative"))
        assert bool(one["metadata"].get("finalizers")) != holds_data, file.name


def test_each_project_allows_the_kinds_and_places_of_its_applications_and_no_more():
    projects = {one["metadata"]["name"]: one["spec"] for one in objects(rendered("argocd")) if one["kind"] == "AppProject"}
    made = set()
    for file in APPLICATIONS:
        spec = yaml.safe_load(file.read_text())["spec"]
        project = projects[spec["project"]]
        assert spec["destination"] in project["destinations"], file.name
        assert spec["source"]["repoURL"] in [*project["sourceRepos"], "set-by-settings"], file.name
        for name in ("laptop", "production") if "path" in spec["source"] else ():
            for one in objects(rendered(spec["source"]["path"].replace("set-by-settings", name))):
                made.add((one["apiVersion"].rpartition("/")[0], one["kind"]))
    allowed = projects["dream"]["namespaceResourceWhitelist"] + projects["dream"]["clusterResourceWhitelist"]
    allowed_kinds = {(kind["group"], kind["kind"]) for kind in allowed}
    assert made - allowed_kinds == set()
    by_components = {("postgresql.cnpg.io", "Cluster"), ("gateway.networking.k8s.io", "HTTPRoute")}
    assert allowed_kinds - made == by_components


# --- Argo CD's health checks, run ---

HEALTH = [
    ("argoproj.io_Application", {}, "Progressing"),
    ("argoproj.io_Application", {"status": {"health": {"status": "Degraded"}}}, "Degraded"),
    ("argoproj.io_Application", {"status": {"health": {"status": "Healthy"}, "sync": {"status": "OutOfSync"}}}, "Progressing"),
    ("argoproj.io_Application", {"status": {"health": {"status": "Healthy"}, "sync": {"status": "Synced"}}}, "Healthy"),
    ("ray.io_RayCluster", {"metadata": {"generation": 1}}, "Progressing"),
    ("ray.io_RayCluster", {"metadata": {"generation": 2}, "status": {"observedGeneration": 1, "conditions": [{"type": "HeadPodReady", "status": "True"}]}}, "Progressing"),
    ("ray.io_RayCluster", {"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": [{"type": "HeadPodReady", "status": "False", "reason": "x"}]}}, "Progressing"),
    ("ray.io_RayCluster", {"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": [{"type": "HeadPodReady", "status": "True"}]}}, "Healthy"),
    ("ray.io_RayCluster", {"metadata": {"generation": 1}, "status": {"conditions": [{"type": "HeadPodReady", "status": "True"}, {"type": "ReplicaFailure", "status": "True", "reason": "quota"}]}}, "Degraded"),
    ("ray.io_RayJob", {"status": {"jobDeploymentStatus": "Running"}}, "Progressing"),
    ("ray.io_RayJob", {"status": {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}}, "Healthy"),
    ("ray.io_RayJob", {"status": {"jobDeploymentStatus": "Failed"}}, "Degraded"),
    ("ray.io_RayService", {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "x"}]}}, "Progressing"),
    ("ray.io_RayService", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, "Healthy"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "seen", "health"), HEALTH)
def test_a_health_check_tells_waiting_from_ready_from_ill(kind: str, seen: Object, health: str):
    lupa = pytest.importorskip("lupa")
    text = yaml.safe_load((REPOSITORY / "argocd/argocd-cm.yaml").read_text())["data"][f"resource.customizations.health.{kind}"]
    lua = lupa.LuaRuntime()
    judge = lua.execute(f"return function(obj)\n{text}\nend")
    answer = judge(lua.table_from({"metadata": {}, **seen}, recursive=True))
    assert answer["status"] == health
