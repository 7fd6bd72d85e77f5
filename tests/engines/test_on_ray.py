"""What the engine on Ray asks of a cluster before it is used; trials and tasks are in test_engines."""

import pytest

from dream.engines import on_ray
from dream.errors import ServiceError

pytestmark = pytest.mark.usefixtures("on_ray")


def versions_of_a_module_that_workers_lack() -> tuple[str, str]:
    return "", "1.0"


def test_workers_with_the_same_versions_are_used():
    on_ray.check_workers()


def test_workers_with_another_version_are_refused_with_both(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(on_ray, "version", lambda name: "9.9")
    with pytest.raises(ServiceError, match=r"the workers have dream-rag \d\S+, this process 9\.9: install the same"):
        on_ray.check_workers()


def test_workers_that_cannot_import_dream_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(on_ray, "_versions", versions_of_a_module_that_workers_lack)
    remedy = r"the workers cannot run DREAM \(.*No module named.*\): install dream-rag 1\.0 in their image"
    with pytest.raises(ServiceError, match=remedy):
        on_ray.check_workers()
