"""The private part of Ray Tune that DREAM changes is as DREAM expects it; no cluster is started."""

import ray
from ray.tune.execution import class_cache

from dream.engines.ray_tune_internals import no_variables_for_trials

REMEDY = (
    f"Ray {ray.__version__} hands variables to trials in another way than 2.60.0, so AWS_SECRET_ACCESS_KEY would show "
    "in Ray's metadata and logs. Read ray/tune/execution/class_cache.py and mend "
    "dream/engines/ray_tune_internals.py; use Tune's own option if there is one by now"
)


class Trainable:
    pass


def variables_for_a_trial() -> dict[str, str]:
    """The environment variables with which Tune would start a trial's actor."""
    actor_class = class_cache._ActorClassCache().get(Trainable)
    return actor_class._default_options["runtime_env"].get("env_vars", {})


def test_a_trial_gets_no_variable_of_this_process(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    before = variables_for_a_trial()
    assert before.get("AWS_SECRET_ACCESS_KEY") == "secret", REMEDY
    with no_variables_for_trials():
        assert variables_for_a_trial() == {}, REMEDY
    assert variables_for_a_trial() == before


def test_ray_tune_is_put_back_after_a_failure():
    before = class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS
    try:
        with no_variables_for_trials():
            raise RuntimeError
    except RuntimeError:
        pass
    assert before == (class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS)
