"""`experiment(config)` is one trial; `run_experiment(search_space)` is all of them, fanned out by Ray Tune.

Trials send what they find to a mailbox; the process that called `run_experiment` empties it, writes results to
storage, logs them to MLflow and shows progress. So workers need no access to storage or MLflow.
"""

import asyncio
import contextlib
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from dream import cluster, gateway, index_access, results, tracking
from dream.documents import load_documents
from dream.errors import ConfigurationError, bullets, explain
from dream.evaluator import METRICS, check_metrics, evaluator
from dream.golden_dataset import load_golden_dataset
from dream.index_access import Request, get_index
from dream.models import check_identifiers, check_models, endpoint_urls, llm_picker
from dream.query_engines import find_rag_method, query_engine_picker
from dream.records import ExperimentResult, GoldenDataset, Trial, TrialResult
from dream.search_space import SearchSpace, default_search_space
from dream.settings import Settings
from dream.storage import open_storage
from dream.versions import versions

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Shared:
    """What is the same for all trials of an experiment."""

    documents: Sequence[Any]
    golden_dataset: GoldenDataset
    judge_llm: str
    judge_embed_model: str
    metrics: Sequence[str] = METRICS


def experiment(
    config: Mapping[str, Any], shared: Shared, on_question: Callable[[int], None] | None = None
) -> TrialResult:
    """One trial, whole: documents become an index, the index a query engine, its answers scores.

    Args:
        config: `query_engine_identifier`, `llm_identifier`, `embed_model_identifier` and the method's parameters.
    """
    started = time.monotonic()
    trial = Trial.from_config(config)
    llm = llm_picker(trial.llm_identifier, trial=trial.id)
    index = get_index(shared.documents, *index_request(trial), trial=trial.id)
    query_engine = query_engine_picker(trial.query_engine_identifier, index, llm, trial.parameters)
    evaluation = evaluator(
        query_engine,
        shared.golden_dataset.questions,
        judge_llm=shared.judge_llm,
        judge_embed_model=shared.judge_embed_model,
        metrics=shared.metrics,
        trial=trial.id,
        on_question=on_question,
    )
    usage = tuple(gateway.door().call("usage", trial.id))
    return TrialResult(trial, evaluation, time.monotonic() - started, len(index.docstore.docs), usage)


def run_experiment(
    search_space: SearchSpace | None = None,
    *,
    name: str | None = None,
    golden_dataset: str | GoldenDataset = "golden",
    documents_uri: str | None = None,
    metrics: Sequence[str] = METRICS,
    max_concurrent_trials: int | None = None,
    settings: Settings | None = None,
    show: Callable[[str], None] | None = print,
) -> ExperimentResult:
    """Run every trial of a search space on Ray, on the same questions with the same judge.

    Args:
        search_space: by default every RAG method with the LLMs and embedding models of the settings.
        name: by default `experiment-<date>-<time>`.
        golden_dataset: the name of one in storage, or the dataset itself.
        documents_uri: where the documents are, by default `settings.documents_uri`.
        max_concurrent_trials: by default one for each CPU of the cluster.
        show: takes a line of progress at a time; None for silence.

    Returns:
        Every trial's result; a failed trial is in it with its error. The same is in storage and in MLflow.

    Raises:
        ConfigurationError: for mistakes in the arguments, all at once, before any model is called.
        ServiceError: when the cluster or a model does not answer, before any trial is started.
    """
    settings = settings or Settings.from_environment()
    space = search_space or default_search_space(settings)
    name = name or datetime.now(UTC).strftime("experiment-%Y%m%d-%H%M%S")
    storage = open_storage(settings.experiments_uri, settings)
    storage.ensure()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigurationError(f"name={name!r}: use letters, digits, '.', '_' and '-'")
    if results.experiment_exists(storage, name):
        raise ConfigurationError(f"experiment {name!r} exists in {settings.experiments_uri}: choose another name")
    trials = space.trials(settings)
    check_metrics(metrics)
    _check_judge(settings)
    golden = load_golden_dataset(golden_dataset, settings)
    loaded = load_documents(open_storage(documents_uri or settings.documents_uri, settings))
    shared = Shared(loaded.documents, golden, settings.judge_llm, settings.judge_embed_model, tuple(metrics))
    with (
        cluster.connected(settings) as ray_cluster,
        gateway.opened(settings),
        index_access.opened(settings, show) as indexes,
    ):
        check_models(
            [settings.judge_llm, *(trial.llm_identifier for trial in trials)],
            [settings.judge_embed_model, *(trial.embed_model_identifier for trial in trials)],
        )
        manifest = _manifest(name, trials, shared, settings, ray_cluster, documents_uri, loaded.digest)
        results.save_manifest(storage, name, manifest)
        recorder = _Recorder(name, manifest, trials, storage, settings, show or (lambda line: None))
        indexes.start(shared.documents, map(index_request, trials))
        _tune(trials, shared, recorder, max_concurrent_trials or ray_cluster.cpus)
    return recorder.finish()


def index_request(trial: Trial) -> Request:
    """The index that a trial needs, as `get_index` takes it."""
    method = find_rag_method(trial.query_engine_identifier)
    return method.chunker, method.split(trial.parameters)[0], trial.embed_model_identifier


def _check_judge(settings: Settings) -> None:
    problems = check_identifiers([settings.judge_llm, settings.judge_embed_model], settings)
    if problems:
        raise ConfigurationError(bullets("the judge cannot be used:", problems))


def _manifest(
    name: str,
    trials: Sequence[Trial],
    shared: Shared,
    settings: Settings,
    ray_cluster: cluster.Cluster,
    documents_uri: str | None,
    documents_digest: str,
) -> dict[str, Any]:
    identifiers = {settings.judge_llm, settings.judge_embed_model}
    for trial in trials:
        identifiers |= {trial.llm_identifier, trial.embed_model_identifier}
    manifest = {
        "name": name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "offline": any(identifier.startswith("offline/") for identifier in identifiers),
        "trials": [asdict(trial) for trial in trials],
        "metrics": list(shared.metrics),
        "judge_llm": shared.judge_llm,
        "judge_embed_model": shared.judge_embed_model,
        "endpoints": endpoint_urls(sorted(identifiers)),
        "documents": {"uri": documents_uri or settings.documents_uri, "digest": documents_digest},
        "golden_dataset": {
            "uri": shared.golden_dataset.uri,
            "digest": shared.golden_dataset.digest,
            "questions": [asdict(question) for question in shared.golden_dataset.questions],
        },
        "cluster": asdict(ray_cluster),
        "versions": versions(),
    }
    return json.loads(json.dumps(manifest))  # what comes back from storage, where tuples are lists


@dataclass
class _Recorder:
    """Keeps what trials send: in storage and MLflow at once, and in memory for the caller."""

    name: str
    manifest: Mapping[str, Any]
    trials: Sequence[Trial]
    storage: Any
    settings: Settings
    show: Callable[[str], None]
    _results: dict[str, TrialResult] = field(default_factory=dict)
    _questions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tracker = tracking.Tracker(self.settings, self.manifest, self.show)
        self._started = time.monotonic()
        self._n_questions = len(self.manifest["golden_dataset"]["questions"])
        self.show(f"{self.name}: {len(self.trials)} trials x {self._n_questions} questions")

    def question_done(self, trial_id: str, done: int) -> None:
        self._questions[trial_id] = done
        total = len(self.trials) * self._n_questions
        everything = sum(self._questions.values())
        if everything * 10 // total > (everything - 1) * 10 // total:
            self.show(f"  {everything} of {total} questions ({time.monotonic() - self._started:.0f} s)")

    def trial_done(self, result: TrialResult) -> None:
        if result.trial.id in self._results:
            return
        self._results[result.trial.id] = result
        results.save_result(self.storage, self.name, result)
        self._tracker.log_trial(result)
        state = f"FAILED: {result.error}" if result.error else f"done in {result.seconds:.1f} s"
        self.show(f"  trial {len(self._results)} of {len(self.trials)}: {result.trial.name}: {state}")

    def lost(self, errors: Mapping[str, str]) -> None:
        """Record trials that ended without a word, such as those of a killed worker."""
        for trial in self.trials:
            if trial.id not in self._results:
                reason = errors.get(trial.id, "the trial ended without a result; its worker may have been killed")
                self.trial_done(TrialResult(trial, error=reason))

    def finish(self) -> ExperimentResult:
        outcome = ExperimentResult(self.name, self.manifest, tuple(self._results[t.id] for t in self.trials))
        results.save_table(self.storage, outcome)
        self._tracker.finish(outcome)
        return outcome


class _Mailbox:
    """A Ray actor between trials and the driver; `collect` waits briefly, so that polling is cheap."""

    def __init__(self) -> None:
        self._letters: list[tuple[str, Any]] = []
        self._arrived = asyncio.Event()

    async def post(self, kind: str, content: Any) -> None:
        self._letters.append((kind, content))
        self._arrived.set()

    async def collect(self) -> list[tuple[str, Any]]:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), POLL_SECONDS)
        self._arrived.clear()
        letters, self._letters = self._letters, []
        return letters


def _trainable(config: Mapping[str, Any], shared: Shared, mailbox: Any) -> None:
    """The function that Ray Tune calls on a worker. A failed trial is a result, not an exception."""
    from ray import tune

    trial = Trial.from_config(config["trial"])

    def on_question(done: int) -> None:
        mailbox.post.remote("question", (trial.id, done))

    try:
        result = experiment(config["trial"], shared, on_question)
    except Exception as error:  # noqa: BLE001 - recorded as the trial's result
        result = TrialResult(trial, error=explain(error))
    import ray

    ray.get(mailbox.post.remote("trial", result))
    tune.report(_tune_metrics(result))


def _tune_metrics(result: TrialResult) -> dict[str, Any]:
    summaries = result.evaluation.summaries() if result.evaluation else ()
    means = {summary.metric: summary.mean for summary in summaries if summary.mean is not None}
    return {"failed": result.error is not None, **means}


def _tune(trials: Sequence[Trial], shared: Shared, recorder: _Recorder, max_concurrent_trials: int) -> None:
    import ray
    from ray import tune

    mailbox = ray.remote(_Mailbox).options(num_cpus=0, max_concurrency=1000).remote()
    trainable = tune.with_parameters(_trainable, shared=shared, mailbox=mailbox)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"trial": tune.grid_search([trial.config() for trial in trials])},
        tune_config=tune.TuneConfig(max_concurrent_trials=max_concurrent_trials, reuse_actors=True),
        run_config=tune.RunConfig(
            name=recorder.name,
            storage_path=f"{tempfile.gettempdir()}/dream-tune",
            failure_config=tune.FailureConfig(max_failures=2),
            verbose=0,
        ),
    )
    with _collecting(mailbox, recorder):
        grid = tuner.fit()
    errors = {}
    for outcome in (grid[i] for i in range(len(grid))):
        if outcome.error is not None and outcome.config is not None:
            errors[Trial.from_config(outcome.config["trial"]).id] = explain(outcome.error)
    recorder.lost(errors)


@contextlib.contextmanager
def _collecting(mailbox: Any, recorder: _Recorder) -> Iterator[None]:
    """Empty the mailbox in a thread while Ray Tune runs; what went wrong there is raised at the end."""
    import ray

    stop = threading.Event()
    problems: list[BaseException] = []

    def deliver() -> int:
        letters = ray.get(mailbox.collect.remote())
        for kind, content in letters:
            if kind == "trial":
                recorder.trial_done(content)
            else:
                recorder.question_done(*content)
        return len(letters)

    def collect() -> None:
        while not stop.is_set():
            try:
                deliver()
            except Exception as error:  # noqa: BLE001 - raised by the thread that waits
                problems.append(error)
                return

    collector = threading.Thread(target=collect, name="dream-collector", daemon=True)
    collector.start()
    try:
        yield
    finally:
        stop.set()
        collector.join()
    if problems:
        raise problems[0]
    while deliver():
        pass
