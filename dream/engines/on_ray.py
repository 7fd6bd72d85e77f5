"""The engine on a Ray cluster: trials by Ray Tune, tasks as Ray tasks."""

import asyncio
import pickle
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

from dream import ray_cluster
from dream.engines.choice import RAY, cpu_count
from dream.engines.engine import Engine, Receive, TrialFunction, TrialRuns
from dream.engines.inbox import LAST_BLOCK_SECONDS, BlockFinished, TrialInbox
from dream.engines.ray_tune_internals import no_variables_for_trials
from dream.errors import ServiceError, explain
from dream.records import Cluster, Evaluation, Failure, FailureKind, Trial
from dream.runtime.event_loop import Waits, run_async
from dream.runtime.libraries import import_modules
from dream.services import OnRay, RayService, ServiceKind, services_process

T = TypeVar("T")
Inbox = RayService[TrialInbox]
# The interval at which a worker checks if its trial was requested to stop.
STOP_SECONDS = 2.0


class RayEngine(Engine):
    """Runs on the cluster that this process is connected to."""

    name = RAY

    def __init__(self, cluster: Cluster) -> None:
        self.cluster: Cluster = cluster
        self._services = services_process()  # which ends with its last handle
        self._early: _TuneRun | None = None

    def start_early(self, runs: TrialRuns) -> None:
        self.close()
        self._early = _TuneRun(runs, self.cluster)

    def run_trials(self, runs: TrialRuns, receive: Receive) -> dict[str, Failure]:
        tune_run, self._early = self._early, None
        if tune_run and not tune_run.is_of(runs):
            tune_run.close()
            tune_run = None
        tune_run = tune_run or _TuneRun(runs, self.cluster)
        with closing(tune_run), _collecting(tune_run.inbox, receive, runs.to_stop):
            return tune_run.failures()

    def close(self) -> None:
        """End the processes that were started early, if no trial has run in them."""
        if self._early:
            self._early.close()
            self._early = None

    def submit(self, task: Callable[..., T], *arguments: Any) -> "Future[T]":
        import ray

        same_order = {"env_vars": {"PYTHONHASHSEED": "0"}}
        remote = ray.remote(task).options(num_cpus=1, max_retries=0, runtime_env=same_order)
        return _unwrapped(remote.remote(*arguments).future())


def check_workers() -> None:
    """Compare the versions of Python and DREAM in the cluster, in its process of services, with those of this process.

    Raises:
        ServiceError: when they differ, or when DREAM cannot be imported there.
    """
    ours = _versions()
    try:
        python, dream = OnRay().run("process of services", _versions).result()
    except Exception as error:  # noqa: BLE001 - whatever keeps a worker from importing DREAM is reported
        remedy = f"install dream-rag {ours[1]} in their image"
        ray_cluster.refuse([f"the workers cannot run DREAM ({explain(error)}): {remedy}"])
        return
    problems = []
    if python != ours[0]:
        differ = f"the workers run Python {python}, this process Python {ours[0]}"
        problems.append(f"{differ}. {ray_cluster.VERSIONS_HINT}")
    if dream != ours[1]:
        problems.append(f"the workers have dream-rag {dream}, this process {ours[1]}: install the same version")
    ray_cluster.refuse(problems)


def _versions() -> tuple[str, str]:
    return f"{sys.version_info.major}.{sys.version_info.minor}", version("dream-rag")


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


class _TuneRun:
    """Trials in Ray Tune, which runs in the process of services. Their processes start at once; trials begin when
    `failures` is called.

    The inbox has a unique name, so that it receives nothing from trials of an earlier experiment.
    """

    def __init__(self, runs: TrialRuns, cluster: Cluster) -> None:
        self._runs = runs
        kind = ServiceKind[TrialInbox]("inbox of trials", f"dream-trials-{uuid.uuid4().hex}")
        self.inbox: Inbox = OnRay().start(kind, partial(TrialInbox, dict(runs.finished)))
        at_once = runs.at_once or cluster.trials_at_once
        cpus = min(1.0, cluster.cpus / at_once)
        configs = [trial.config() for trial in runs.trials]
        work = {"function": _pickled(runs.function), "modules": list(runs.modules), "inbox": self.inbox}
        self._fitting = OnRay().run("process of Ray Tune", _fit, runs.name, configs, work, at_once, cpus)

    def is_of(self, runs: TrialRuns) -> bool:
        """True if these trials, of the same function, are those of this run."""
        return runs.function is self._runs.function and runs.trials == self._runs.trials

    def failures(self) -> dict[str, Failure]:
        """Let the trials begin, and wait for their end; the failures of those that ended without a result."""
        self.inbox.call(TrialInbox.open)
        return self._fitting.result()

    def close(self) -> None:
        """Stop trials that still run, and free the inbox."""
        with suppress(ServiceError):
            self.inbox.call(TrialInbox.call_off)
        self.inbox.end()


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


def _pickled(function: TrialFunction) -> bytes:
    """The function as bytes, so that the process of Ray Tune does not import what only trials need."""
    from ray import cloudpickle

    return cloudpickle.dumps(function)  # pyright: ignore[reportPrivateImportUsage]


def _trainable(config: Mapping[str, Any], function: bytes, modules: Sequence[str], inbox: Inbox) -> None:
    """The function that Ray Tune calls on a worker. A failed trial is a result, not an exception."""
    from ray import tune

    is_ready = all(module in sys.modules for module in modules)
    with nullcontext() if is_ready else _turn_to_import(inbox):
        import_modules(modules)
        run_trial: TrialFunction = pickle.loads(function)
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
        result = run_trial(config["trial"], finished, on_block)
    if waits.cancelled and result.failure is not None:
        run_async(asyncio.sleep(LAST_BLOCK_SECONDS))
        inbox.call(TrialInbox.put_stopped, trial.id)
        tune.report({"questions": done, "stopped": True})
        return
    inbox.call(TrialInbox.put_result, result)
    tune.report({"questions": done, "failed": result.failure is not None, **_means(result.evaluation)})


@contextmanager
def _turn_to_import(inbox: Inbox) -> Iterator[None]:
    """A block in which a process may import: as many at a time on each node as half of its CPUs.

    Where few CPUs start all processes at once, each of them is late; in turns, the first one answers questions soon.
    """
    import ray

    node = ray.get_runtime_context().get_node_id()
    inbox.call(TrialInbox.turn_to_import, node, max(1, cpu_count() // 2))
    try:
        yield
    finally:
        inbox.call(TrialInbox.imported, node)


@contextmanager
def _stoppable(inbox: Inbox, trial_id: str) -> Iterator[Waits]:
    """The waits of a trial in this thread, which end when the trial is requested to stop."""
    waits, ended = Waits(), threading.Event()

    def is_to_stop() -> bool:
        try:
            return inbox.call(TrialInbox.is_to_stop, trial_id)
        except ServiceError:  # the experiment has ended, or the process of services
            return True

    def watch() -> None:
        while not ended.wait(STOP_SECONDS):
            if is_to_stop():
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
    name: str, configs: Sequence[Mapping[str, Any]], work: Mapping[str, Any], at_once: int, cpus: float
) -> dict[str, Failure]:
    """Let Ray Tune run the trials; the failures of those that ended without reporting a result, by trial id.

    `work` has the arguments of `_trainable` that all trials share.
    """
    from ray import tune

    def trainable(config: Mapping[str, Any], **work: Any) -> None:
        _trainable(config, **work)

    # Ray Tune keeps what trials share by the name and the object of the trainable: those of another run may still end.
    trainable.__name__ = f"trial-{uuid.uuid4().hex}"
    trainable = tune.with_parameters(trainable, **work)
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
