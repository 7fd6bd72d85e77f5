"""Typos in what a user edits are refused where they come first: by Kustomize, or by `dream doctor` in the pods.

Those that only an API server notices are in test_api_server, those of a workflow's parameters in test_parameters.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from k8s_objects import K8S, REPOSITORY, environment, objects, pods, rendered, tool

from dream.errors import ConfigurationError
from dream.settings import Settings


def built(checkout: Path, folder: str, file: str, right: str, wrong: str) -> subprocess.CompletedProcess[str]:
    """Kustomize's word on a folder with a typo in one of its files."""
    path = checkout / file
    text = path.read_text(encoding="utf-8")
    assert right in text
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    try:
        program = tool("KUSTOMIZE_BINARY", "kustomize", "render the manifests")
        return subprocess.run([program, "build", folder], cwd=checkout, capture_output=True, text=True, check=False)
    finally:
        path.write_text(text, encoding="utf-8")


PRODUCTION = "k8s/overlays/production"


@pytest.mark.parametrize(
    ("folder", "file", "right", "wrong", "said"),
    [
        (f"{PRODUCTION}/ray", f"{PRODUCTION}/ray/kustomization.yaml", "storage-class", "storage-clas", "storage-clas"),
        (PRODUCTION, f"{PRODUCTION}/kustomization.yaml", "  - mlflow", "  - mlfow", "mlfow"),
        (f"{PRODUCTION}/ray", f"{PRODUCTION}/ray/kustomization.yaml", "patches:", "patchs:", "patchs"),
        (
            f"{PRODUCTION}/ray",
            f"{PRODUCTION}/ray/kustomization.yaml",
            "replace, path: /spec/workerGroupSpecs/0/maxReplicas",
            "replace, path: /spec/workerGroups/0/maxReplicas",
            "/spec/workerGroups/0/maxReplicas",
        ),
        ("k8s/serve", "k8s/site/kustomization.yaml", "newTag: 0.1.0", "newTag: 1.10", "number"),
        ("k8s/serve", "k8s/site/kustomization.yaml", "newName:", "newNme:", "newNme"),
        ("k8s/serve", "k8s/serve/kustomization.yaml", "files: [winner.yaml]", "files: [winer.yaml]", "winer.yaml"),
        ("argocd", "argocd/settings/settings.yaml", "repository:", "repositry:", "data.repository"),
        ("argocd/apps", "argocd/settings/settings.yaml", "overlay: laptop", "overlai: laptop", "data.overlay"),
        ("argocd/apps", "argocd/apps/kustomization.yaml", "30-mlflow.yaml", "30-mlfow.yaml", "30-mlfow.yaml"),
    ],
)
def test_kustomize_refuses_it(checkout: Path, folder: str, file: str, right: str, wrong: str, said: str):
    done = built(checkout, folder, file, right, wrong)
    assert done.returncode != 0
    assert said in done.stderr


def test_an_overlay_that_is_not_there_is_noticed_before_it_is_pushed(checkout: Path):
    """Kustomize cannot know: `make validate` looks where each Application leads."""
    done = built(checkout, "argocd/apps", "argocd/settings/settings.yaml", "overlay: laptop", "overlay: labtop")
    paths = [one["spec"]["source"]["path"] for one in objects(done.stdout) if "source" in one["spec"]]
    missing = [path for path in paths if not (REPOSITORY / path / "kustomization.yaml").is_file()]
    assert "k8s/overlays/labtop/ray" in missing


# --- settings: `dream doctor`, and whatever else starts in a pod ---


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DREAM_BUCKET_PREFX", "acme-", "DREAM_BUCKET_PREFX"),
        ("DREAM_ENDPOINT_VLLM_BASE_ULR", "http://vllm:8000/v1", "DREAM_ENDPOINT_VLLM_BASE_ULR"),
        ("DREAM_BUCKET_PREFIX", "Acme_", "Acme_"),
        ("S3_ENDPOINT_URL", "minio:9000", "minio:9000"),
        ("DREAM_BUDGET_USD", "20 USD", "20 USD"),
        ("DREAM_ENDPOINT_VLLM_BASE_URL", "vllm:8000/v1", "vllm:8000/v1"),
        ("DREAM_GIT_PULL_REQUESTS", "githb", "githb"),
        ("DREAM_ENGINE", "rey", "rey"),
    ],
)
def test_dream_refuses_a_setting_in_words_that_name_it(name: str, value: str, said: str):
    found = objects(rendered("k8s/overlays/laptop"))
    (pod,) = (one for one in pods(found) if one.owner == "StatefulSet jupyter")
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_environment({**environment(pod, found), name: value})
    assert name in str(refused.value) and said in str(refused.value)


# --- patches ---


def test_each_patch_of_the_checkout_finds_what_it_names():
    """Kustomize leaves out a patch whose target is not there, and says nothing."""
    folders = [path.parent for path in K8S.rglob("kustomization.yaml")]
    files = [file for folder in folders for file in folder.glob("*.yaml") if file.name != "kustomization.yaml"]
    known = [one for file in files for one in objects(file.read_text(encoding="utf-8")) if "kind" in one]
    there = {(one["kind"], one["metadata"]["name"]) for one in known}
    missing = []
    for folder in folders:
        made = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
        for target in (patch["target"] for patch in made.get("patches", []) if "target" in patch):
            kind, name = re.compile(target["kind"]), re.compile(target.get("name", ".*"))
            if not any(kind.fullmatch(one) and name.fullmatch(other) for one, other in there):
                missing.append(f"{os.path.relpath(folder, REPOSITORY)}: {target}")
    assert missing == []
