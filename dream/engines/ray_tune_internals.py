"""The one private part of Ray that DREAM changes. Ray is pinned to a patch version for it.

tests/engines/test_ray_tune_internals.py fails when Ray's part changes, and says what to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_variables_for_trials() -> Iterator[None]:
    """Within the block, keep Ray Tune from handing environment variables of this process to trials.

    Tune has no option for it. It would send AWS_SECRET_ACCESS_KEY, which Ray's metadata, dashboard and logs then show;
    and for any variable at all Ray starts a new worker process for a trial instead of taking an idle one. (Taking the
    keys out of `os.environ` meanwhile would take them from every other thread too, and leave the new processes.)
    """
    from ray.tune.execution import class_cache

    propagated, defaults = class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS
    class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS = set(), {}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS = propagated, defaults
