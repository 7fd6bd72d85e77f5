"""The private part of Ray Tune that DREAM changes is as DREAM expects it; no cluster is started."""

from importlib.metadata import version
from types import ModuleType

import pytest

from dream.engines.ray_tune_internals import no_variables_for_trials

REMEDY = (
    f"Ray {version('ray')} hands variables to trials in another way than 2.60.0, so AWS_SECRET_ACCESS_KEY would show "
    "in Ray's metadata and logs. Read ray/tune/execution/class_cache.py and mend "
    "dream/engines/ray_tune_internals.py; use Tune's own option if there is one by now"
)


class Trainable:
    pass


@pytest.fixture
def class_cache() -> ModuleType:
    from ray.tune.execution import class_cache

    return class_cache


def variables_for_a_trial(class_cache: ModuleType) -> dict[str, str]:
    """The environment variables with which Tune would start a trial's actor."""
    actor_class = class_cache._ActorClassCache().get(Trainable)
    return actor_class._default_options["runtime_env"].get("env_vars", {})


def test_a_trial_gets_no_variable_of_this_process(class_cache: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    before = variables_for_a_trial(class_cache)
    assert before.get("AWS_SECRET_ACCESS_KEY") == "secret", REMEDY
    with no_variables_for_trials():
        assert variables_for_a_trial(class_cache) == {}, REMEDY
    assert variables_for_a_trial(class_cache) == before


def test_ray_tune_is_put_back_after_a_failure(class_cache: ModuleType):
    before = class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS
    try:
        with no_variables_for_trials():
            raise RuntimeError
    except RuntimeError:
        pass
    assert before == (class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS)
