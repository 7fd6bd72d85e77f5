"""The engine on a Ray cluster: trials by Ray Tune, tasks as Ray tasks."""

import asyncio
import tempfile
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from dream import ray_cluster
from dream.engines.choice import RAY
from dream.engines.engine import Engine, Receive, TrialFunction, TrialRuns
from dream.engines.inbox import LAST_BLOCK_SECONDS, BlockFinished, TrialInbox
from dream.engines.ray_tune_internals import no_variables_for_trials
from dream.errors import ServiceError, explain
from dream.records import Cluster, Evaluation, Failure, FailureKind, Trial
from dream.runtime.event_loop import Waits, run_async
from dream.services import OnRay, RayService, ServiceKind

T = TypeVar("T")
Inbox = RayService[TrialInbox]
# The interval at which a worker checks if its trial was requested to stop.
STOP_SECONDS = 2.0


class RayEngine(Engine):
    """Runs on the cluster that this process is connected to."""

    name = RAY

    def __init__(self, cluster: Cluster) -> None:
        self.cluster: Cluster = cluster

    def run_trials(self, runs: TrialRuns, receive: Receive) -> dict[str, Failure]:
        at_once = runs.at_once or self.cluster.trials_at_once
        cpus_each = min(1.0, self.cluster.cpus / at_once)
        configs = [trial.config() for trial in runs.trials]
        with _inbox(runs.finished) as inbox, _collecting(inbox, receive, runs.to_stop):
            return ray_cluster.inside(_fit, runs.name, configs, runs.function, inbox, at_once, cpus_each)

    def submit(self, task: Callable[..., T], *arguments: Any) -> "Future[T]":
        import ray

        same_order = {"env_vars": {"PYTHONHASHSEED": "0"}}
        remote = ray.remote(task).options(num_cpus=1, max_retries=0, runtime_env=same_order)
        return _unwrapped(remote.remote(*arguments).future())


def _unwrapped(of_ray: "Future[T]") -> "Future[T]":
    """A future that raises the task's own exception, without Ray's long wrapper, and a ServiceError for a lost
    worker."""
    future: Future[T] = Future()

    def settle(done: "Future[T]") -> None:
        from ray.exceptions import RayError

        try:
            with ray_cluster.unwrapped():
                result = done.result()
        except RayError as error:
            future.set_exception(ServiceError(f"the worker of a task is gone: {explain(error)}"))
        except Exception as error:  # noqa: BLE001 - raised where the task was submitted
            future.set_exception(error)
        else:
            future.set_result(result)

    of_ray.add_done_callback(settle)
    return future


@contextmanager
def _inbox(finished: Mapping[str, Evaluation]) -> Iterator[Inbox]:
    """An inbox with a unique name, so that it receives nothing from trials of an earlier experiment."""
    kind = ServiceKind[TrialInbox]("inbox of trials", f"dream-trials-{uuid.uuid4().hex}")
    inbox = OnRay().start(kind, partial(TrialInbox, dict(finished)))
    try:
        yield inbox
    finally:
        inbox.end()


@contextmanager
def _collecting(inbox: Inbox, receive: Receive, to_stop: Callable[[], Collection[str]]) -> Iterator[None]:
    """Empty the inbox in a thread while trials run, and forward requests to stop; an error is raised at the end."""
    stop = threading.Event()
    problems: list[BaseException] = []
    told: set[str] = set()

    def collect() -> int:
        for trial_id in set(to_stop()) - told:
            inbox.call(TrialInbox.stop, trial_id)
            told.add(trial_id)
        messages = inbox.call(TrialInbox.collect)
        receive(messages)
        return len(messages)

    def collect_until_stopped() -> None:
        while not stop.is_set():
            try:
                collect()
            except Exception as error:  # noqa: BLE001 - raised by the thread that waits
                problems.append(error)
                return

    collector = threading.Thread(target=collect_until_stopped, name="dream-collector", daemon=True)
    collector.start()
    try:
        yield
    except KeyboardInterrupt:
        _end(stop, collector)
        receive([each for each in inbox.call(TrialInbox.collect) if isinstance(each, BlockFinished)])
        raise
    finally:
        _end(stop, collector)
    if problems:
        raise problems[0]
    while collect():
        pass


def _end(stop: threading.Event, thread: threading.Thread) -> None:
    stop.set()
    thread.join()


def _trainable(config: Mapping[str, Any], function: TrialFunction, inbox: Inbox) -> None:
    """The function that Ray Tune calls on a worker. A failed trial is a result, not an exception."""
    from ray import tune

    trial = Trial.from_config(config["trial"])
    finished = inbox.call(TrialInbox.begin, trial.id)
    if finished is None:
        tune.report({"stopped": True})
        return
    done = len(finished.answers)

    def on_block(block: Evaluation) -> None:
        nonlocal done
        done += len(block.answers)
        inbox.send(TrialInbox.put_block, trial.id, block)
        tune.report({"questions": done, **_means(block)})

    with _stoppable(inbox, trial.id) as waits:
        result = function(config["trial"], finished, on_block)
    if waits.cancelled and result.failure is not None:
        run_async(asyncio.sleep(LAST_BLOCK_SECONDS))
        inbox.call(TrialInbox.put_stopped, trial.id)
        tune.report({"questions": done, "stopped": True})
        return
    inbox.call(TrialInbox.put_result, result)
    tune.report({"questions": done, "failed": result.failure is not None, **_means(result.evaluation)})


@contextmanager
def _stoppable(inbox: Inbox, trial_id: str) -> Iterator[Waits]:
    """The waits of a trial in this thread, which end when the trial is requested to stop."""
    waits, ended = Waits(), threading.Event()

    def watch() -> None:
        with suppress(ServiceError):  # without the inbox, the trial itself ends with a better message
            while not ended.wait(STOP_SECONDS):
                if inbox.call(TrialInbox.is_to_stop, trial_id):
                    waits.cancel()
                    return

    threading.Thread(target=watch, name="dream-stop-watch", daemon=True).start()
    try:
        with waits.entered():
            yield waits
    finally:
        ended.set()


def _means(evaluation: Evaluation | None) -> dict[str, float]:
    summaries = evaluation.summaries() if evaluation else ()
    return {summary.metric: summary.mean for summary in summaries if summary.mean is not None}


def _fit(
    name: str, configs: Sequence[Mapping[str, Any]], function: TrialFunction, inbox: Inbox, at_once: int, cpus: float
) -> dict[str, Failure]:
    """Let Ray Tune run the trials; the failures of those that ended without reporting a result, by trial id."""
    from ray import tune

    trainable = tune.with_parameters(_trainable, function=function, inbox=inbox)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": cpus}),
        param_space={"trial": tune.grid_search(list(configs))},
        tune_config=tune.TuneConfig(max_concurrent_trials=at_once, reuse_actors=True),
        run_config=tune.RunConfig(
            name=name,
            storage_path=f"{tempfile.gettempdir()}/dream-tune",
            failure_config=tune.FailureConfig(max_failures=2),
            verbose=0,
        ),
    )
    with no_variables_for_trials():
        grid = tuner.fit()
    return {
        Trial.from_config(outcome.config["trial"]).id: replace(Failure.of(outcome.error), kind=FailureKind.SERVICE)
        for outcome in (grid[i] for i in range(len(grid)))
        if outcome.error is not None and outcome.config is not None
    }
