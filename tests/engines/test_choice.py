"""The engine that is chosen, and the reason that is shown."""

import pytest

from dream import engines
from dream.engines import choice, choose_engine
from dream.errors import ConfigurationError
from dream.settings import Settings


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "cpu_count", lambda: 2)
    monkeypatch.setattr("dream.ray_cluster.on_ray", lambda: False)


def settings(**environment: str) -> Settings:
    return Settings.from_environment(environment)


@pytest.mark.parametrize(
    ("asked", "environment", "expected"),
    [
        (None, {}, "engine: in_process (no RAY_ADDRESS, 2 CPUs)"),
        ("auto", {}, "engine: in_process (no RAY_ADDRESS, 2 CPUs)"),
        (None, {"RAY_ADDRESS": "ray://head:10001"}, "engine: ray (RAY_ADDRESS=ray://head:10001)"),
        (None, {"DREAM_ENGINE": "ray"}, "engine: ray (DREAM_ENGINE)"),
        ("ray", {}, "engine: ray (as asked for)"),
        ("in_process", {"RAY_ADDRESS": "auto"}, "engine: in_process (as asked for)"),
        ("auto", {"DREAM_ENGINE": "ray"}, "engine: in_process (no RAY_ADDRESS, 2 CPUs)"),
    ],
)
def test_what_is_asked_for_counts_before_the_settings_and_these_before_the_machine(asked, environment, expected):
    assert str(choose_engine(asked, settings(**environment))) == expected


def test_many_cpus_and_a_connection_to_ray_choose_ray(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(choice, "cpu_count", lambda: choice.CPUS_FOR_RAY)
    assert str(choose_engine(None, settings())) == "engine: ray (8 CPUs)"
    monkeypatch.setattr("dream.ray_cluster.on_ray", lambda: True)
    assert str(choose_engine(None, settings())) == "engine: ray (this process is connected to Ray)"


def test_an_unknown_name_is_refused_with_the_valid_ones():
    with pytest.raises(ConfigurationError, match="engine='spark': give one of auto, in_process, ray"):
        choose_engine("spark", settings())
    with pytest.raises(ConfigurationError, match="DREAM_ENGINE='spark': give auto, in_process or ray"):
        settings(DREAM_ENGINE="spark")


def test_services_stay_in_this_process_beside_a_connection_to_ray(monkeypatch: pytest.MonkeyPatch):
    from dream.services import InProcess, OnRay, host

    monkeypatch.setattr("dream.ray_cluster.on_ray", lambda: True)
    assert isinstance(host(), OnRay)
    with engines.opened(choose_engine("in_process", settings()), settings()) as engine:
        assert (engine.name, engine.cluster) == ("in_process", None)
        assert isinstance(host(), InProcess)
    assert isinstance(host(), OnRay)
