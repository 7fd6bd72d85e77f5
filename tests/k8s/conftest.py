"""What the tests of the manifests share."""

import shutil
from pathlib import Path

import pytest
from k8s_objects import REPOSITORY


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the manifests to edit."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("k8s", "argocd"):
        shutil.copytree(REPOSITORY / name, copy / name)
    return copy
