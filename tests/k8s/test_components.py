"""Components swap one part of an overlay or of the site, and nothing breaks. See k8s_components."""

import re
import shutil
from pathlib import Path

import k8s_network_checks
import k8s_objects
import pytest
import typer
import yaml
from k8s_checks import all_problems
from k8s_components import COMPONENTS, EVERY_USE, rest_of, with_component
from k8s_objects import K8S, OVERLAYS, Object, objects, overlay, rendered
from k8s_schemas import schema_problems

from dream.cli.main import app
from dream.settings import Settings

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
