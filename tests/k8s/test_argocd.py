"""The Argo CD side: Applications lead to what exists, projects allow that and no more, health checks tell the truth."""

import json
import re

import pytest
import yaml
from k8s_objects import K8S, REPOSITORY, Object, objects, rendered

APPLICATIONS = sorted((REPOSITORY / "argocd/apps").rglob("[0-9]*.yaml"))


def sources(one: Object) -> list[Object]:
    """Where an Application comes from: a folder of ours, or a chart and the repository with its values."""
    return one["spec"].get("sources", [one["spec"].get("source", {})])


def test_every_application_leads_to_a_folder_that_builds():
    for one in objects(rendered("argocd/apps")):
        for source in sources(one):
            path = source.get("path")
            assert path is None or (REPOSITORY / path / "kustomization.yaml").is_file(), one["metadata"]["name"]


def test_both_overlays_have_the_folders_that_applications_ask_for():
    for file in APPLICATIONS:
        (source, *_) = sources(yaml.safe_load(file.read_text()))
        for name in ("laptop", "production"):
            path = source.get("path", "argocd").replace("set-by-settings", name)
            assert (REPOSITORY / path).is_dir(), (file.name, path)


def test_one_file_says_which_repository_revision_and_overlay():
    settings = yaml.safe_load((REPOSITORY / "argocd/settings/settings.yaml").read_text())["data"]
    made = [*objects(rendered("argocd")), *objects(rendered("argocd/apps"))]
    assert [one for one in made if "set-by-settings" in json.dumps(one)] == []
    for one in made:
        for source in sources(one) if one["kind"] == "Application" else ():
            if "chart" not in source:
                assert (source["repoURL"], source["targetRevision"]) == (settings["repository"], settings["revision"])
    files = [*(REPOSITORY / "argocd").rglob("*.yaml"), *K8S.rglob("*.yaml")]
    assert [path.name for path in files if settings["repository"] in path.read_text()] == ["settings.yaml"]


def test_applications_converge_by_themselves_and_charts_are_pinned():
    for file in APPLICATIONS:
        spec = yaml.safe_load(file.read_text())["spec"]
        assert spec["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}, file.name
        assert spec["syncPolicy"]["retry"]["backoff"]["factor"] == 2, file.name
        assert "ServerSideApply=true" in spec["syncPolicy"]["syncOptions"], file.name
        (source, *_) = sources({"spec": spec})
        if "chart" in source:
            assert re.fullmatch(r"\d+\.\d+\.\d+", source["targetRevision"]), file.name
        if "ignoreDifferences" in spec:
            assert "RespectIgnoreDifferences=true" in spec["syncPolicy"]["syncOptions"], file.name
            assert re.search(r"ignoreDifferences:\n +# ", file.read_text()), f"{file.name}: no reason beside it"


def test_a_config_map_that_pods_still_have_is_pruned_last():
    """Its name ends in a hash: until the new pods are ready, an old one that starts again needs the old name."""
    for file in APPLICATIONS:
        spec = yaml.safe_load(file.read_text())["spec"]
        path = spec.get("source", {}).get("path", "").replace("set-by-settings", "laptop")
        made = objects(rendered(path)) if path else []
        hashed = [
            one
            for one in made
            if one["kind"] == "ConfigMap" and re.search(r"-[bcdfghkmt2456789]{10}$", one["metadata"]["name"])
        ]
        assert bool(hashed) == ("PruneLast=true" in spec["syncPolicy"]["syncOptions"]), file.name


def test_argo_cd_helm_and_ci_install_the_operators_with_the_same_values():
    """The chart, its version, its namespace and its values file: as Argo CD has them, in INSTALL.md and in CI."""
    texts = [(REPOSITORY / path).read_text() for path in ("INSTALL.md", ".github/workflows/cluster.yaml")]
    for one in objects(rendered("argocd/apps")):
        chart = sources(one)[0]
        if "chart" in chart:
            (values,) = (path.removeprefix("$values/") for path in chart["helm"]["valueFiles"])
            assert (REPOSITORY / values).is_file()
            command = (
                f"helm install {chart['chart']} {chart['chart']} --repo {chart['repoURL']} "
                f"--version {chart['targetRevision']} --namespace {one['spec']['destination']['namespace']} "
                f"--create-namespace --values {values}"
            )
            for text in texts:
                assert command in re.sub(r"\s*\\\n\s*", " ", text), chart["chart"]


def test_waves_follow_what_needs_what():
    about = [yaml.safe_load(file.read_text())["metadata"] for file in APPLICATIONS]
    waves = {one["name"]: int(one["annotations"]["argocd.argoproj.io/sync-wave"]) for one in about}
    order = [
        "dream-platform",
        "kuberay-operator",
        "dream-minio",
        "dream-mlflow",
        "dream-ray",
        "dream-jupyter",
        "dream-workflows",
    ]
    assert [waves[name] for name in order] == sorted(waves[name] for name in order)
    assert waves["argo-workflows"] < waves["dream-workflows"]
    assert waves["dream-postgres"] < waves["dream-mlflow"]
    assert waves["dream-platform"] < waves["dream-secrets"] < waves["dream-minio"]


def test_a_run_that_failed_holds_up_no_other_application():
    """What makes runs by a schedule is healthy by itself, and the backup is last."""
    customised = yaml.safe_load((REPOSITORY / "argocd/argocd-cm.yaml").read_text())["data"]
    scheduled = {"CronJob": "batch_CronJob", "CronWorkflow": "argoproj.io_CronWorkflow"}
    made = {one["kind"] for name in ("laptop", "production") for one in objects(rendered(f"k8s/overlays/{name}"))}
    assert {kind for kind in made if kind.startswith("Cron")} == set(scheduled)
    assert {f"resource.customizations.health.{name}" for name in scheduled.values()} <= set(customised)
    about = [yaml.safe_load(file.read_text())["metadata"] for file in APPLICATIONS]
    waves = {one["name"]: int(one["annotations"]["argocd.argoproj.io/sync-wave"]) for one in about}
    assert max(waves, key=lambda name: waves[name]) == "dream-backup"


def test_applications_with_data_have_no_finalizer():
    for file in APPLICATIONS:
        one = yaml.safe_load(file.read_text())
        holds_data = any(
            name in file.name
            for name in (
                "platform",
                "secrets",
                "minio",
                "postgres",
                "jupyter",
                "kuberay",
                "argo-workflows",
                "cloudnative",
            )
        )
        assert bool(one["metadata"].get("finalizers")) != holds_data, file.name


def test_each_project_allows_the_kinds_and_places_of_its_applications_and_no_more():
    projects = {
        one["metadata"]["name"]: one["spec"] for one in objects(rendered("argocd")) if one["kind"] == "AppProject"
    }
    made = set()
    for file in APPLICATIONS:
        spec = yaml.safe_load(file.read_text())["spec"]
        project = projects[spec["project"]]
        assert spec["destination"] in project["destinations"], file.name
        for source in sources({"spec": spec}):
            assert source["repoURL"] in [*project["sourceRepos"], "set-by-settings"], file.name
        for name in ("laptop", "production") if "source" in spec else ():
            for one in objects(rendered(spec["source"]["path"].replace("set-by-settings", name))):
                made.add((one["apiVersion"].rpartition("/")[0], one["kind"]))
    allowed = projects["dream"]["namespaceResourceWhitelist"] + projects["dream"]["clusterResourceWhitelist"]
    allowed_kinds = {(kind["group"], kind["kind"]) for kind in allowed}
    assert made - allowed_kinds == set()
    by_components = {
        ("postgresql.cnpg.io", "Cluster"),
        ("gateway.networking.k8s.io", "HTTPRoute"),
        ("bitnami.com", "SealedSecret"),  # those of k8s/secrets
        ("external-secrets.io", "ExternalSecret"),
    }
    assert allowed_kinds - made == by_components


# --- its health checks, run ---


def cluster(head: str, generation: int = 1, **failure: str) -> Object:
    """A RayCluster whose operator has last looked at generation 1."""
    conditions = [{"type": "HeadPodReady", "status": head, "reason": "x"}]
    conditions += [{"type": "ReplicaFailure", "status": "True", **failure}] if failure else []
    return {"metadata": {"generation": generation}, "status": {"observedGeneration": 1, "conditions": conditions}}


def service(ready: str) -> Object:
    return {"status": {"conditions": [{"type": "Ready", "status": ready, "reason": "x"}]}}


def application(health: str, sync: str) -> Object:
    return {"status": {"health": {"status": health}, "sync": {"status": sync}}}


HEALTH = [
    ("argoproj.io_Application", {}, "Progressing"),
    ("argoproj.io_Application", application("Degraded", "Synced"), "Degraded"),
    ("argoproj.io_Application", application("Healthy", "OutOfSync"), "Progressing"),
    ("argoproj.io_Application", application("Healthy", "Synced"), "Healthy"),
    ("batch_CronJob", {"status": {"lastScheduleTime": "2026-01-02T02:15:00Z"}}, "Healthy"),
    ("argoproj.io_CronWorkflow", {"status": {"failed": 3, "phase": "Active", "conditions": []}}, "Healthy"),
    ("argoproj.io_CronWorkflow", {}, "Healthy"),
    (
        "argoproj.io_CronWorkflow",
        {"status": {"conditions": [{"type": "SubmissionError", "status": "True"}]}},
        "Degraded",
    ),
    ("ray.io_RayCluster", {"metadata": {"generation": 1}}, "Progressing"),
    ("ray.io_RayCluster", cluster("True", generation=2), "Progressing"),
    ("ray.io_RayCluster", cluster("False"), "Progressing"),
    ("ray.io_RayCluster", cluster("True"), "Healthy"),
    ("ray.io_RayCluster", cluster("True", reason="quota"), "Degraded"),
    ("ray.io_RayCluster", {**cluster("True"), "spec": {"suspend": True}}, "Suspended"),
    ("ray.io_RayJob", {"status": {"jobDeploymentStatus": "Running"}}, "Progressing"),
    ("ray.io_RayJob", {"status": {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}}, "Healthy"),
    ("ray.io_RayJob", {"status": {"jobDeploymentStatus": "Failed"}}, "Degraded"),
    ("ray.io_RayService", service("False"), "Progressing"),
    ("ray.io_RayService", service("True"), "Healthy"),
]


@pytest.mark.parametrize(("kind", "seen", "health"), HEALTH)
def test_a_health_check_tells_waiting_from_ready_from_ill(kind: str, seen: Object, health: str):
    lupa = pytest.importorskip("lupa")
    text = yaml.safe_load((REPOSITORY / "argocd/argocd-cm.yaml").read_text())["data"][
        f"resource.customizations.health.{kind}"
    ]
    lua = lupa.LuaRuntime()
    judge = lua.execute(f"return function(obj)\n{text}\nend")
    answer = judge(lua.table_from({"metadata": {}, **seen}, recursive=True))
    assert answer["status"] == health
