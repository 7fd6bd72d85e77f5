"""Objects are valid by the schemas of their kinds, and the checks see a field that is not. See k8s_schemas."""

import re
import subprocess

import pytest
from k8s_objects import OVERLAYS, objects, rendered, tool
from k8s_schemas import crd_folder, schema_problems, validators

OPTIONAL = ("rayjob", "vllm", "tei", "monitoring", "serve")


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
