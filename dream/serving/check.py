"""`check_served`: compares a served winner with its recorded scores.

The service answers golden questions of its experiment, whose judge scores the answers. They are compared question by
question with the recorded scores of the winner, and of the trial that it replaced.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx

from dream import services
from dream.comparison.regression import Regression, against_baseline, check_comparable
from dream.documents.loading import load_documents
from dream.errors import ConfigurationError, DataError, DreamError, ServiceError
from dream.evaluation.evaluate import EvaluationOptions, evaluator
from dream.evaluation.locating import locate
from dream.experiments.spec import slice_of
from dream.experiments.store import load_experiment
from dream.metrics import find_metric
from dream.models import gateway_client
from dream.rag.own_systems import OwnSystem
from dream.records import Evaluation, ExperimentResult, GoldenDataset, TrialResult
from dream.runtime.provenance import versions
from dream.serving.promotion import Promotion
from dream.settings import Settings
from dream.storage import open_storage

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine

AT_ONCE = 4
_ATTEMPTS = 6
# Statuses that mean "retry later": too many questions, a pod that is stopping, a gateway in between.
_LATER = (429, 502, 503, 504)
_LOOK_SECONDS = 1.0
_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class ServedCheck:
    """The comparison of served answers with recorded scores. `notes` are sentences about identical answers, and
    comparisons that were not possible."""

    experiment: str
    trial: str
    n_questions: int
    against: tuple[tuple[str, Regression], ...]
    notes: tuple[str, ...] = ()

    @property
    def has_regressed(self) -> bool:
        """True if the service is shown to be worse than one of the recorded trials, by more than the margin."""
        return any(regression.shown for _, regression in self.against)

    @property
    def text(self) -> str:
        """The findings, one line each."""
        head = f"{self.n_questions} golden questions of {self.experiment}, answered by the served trial {self.trial}:"
        lines = [f"  against {name}: {regression.text}" for name, regression in self.against]
        return "\n".join([head, *lines, *(f"  {note}" for note in self.notes)])


def check_served(
    promotion: Promotion,
    url: str,
    settings: Settings,
    *,
    questions: int | None = None,
    metric: str | None = None,
    margin: float | None = None,
    wait_seconds: float = 0.0,
    fresh: bool = False,
) -> ServedCheck:
    """Ask a service its golden questions, and compare the scores with the recorded ones.

    Args:
        url: the service's base URL; `settings.serve_token` is sent.
        questions: the number of questions to ask, spread over the documents; None for all.
        metric, margin: by default those of the promotion.
        wait_seconds: the maximum wait until the service is ready and serves this trial.
        fresh: bypass the service's cache, so that a model that its provider changed is noticed; this costs the trial's
            calls for each question. Identical answers are not judged again.

    Raises:
        ConfigurationError: for a metric that the experiment has not scored, or another trial behind the URL.
        DataError: if the experiment no longer has these questions or this trial.
        ServiceError: if the service does not answer.
    """
    metric, margin = metric or promotion.metric, promotion.margin if margin is None else margin
    experiment = load_experiment(promotion.evidence.experiment, settings)
    recorded = _recorded(experiment, promotion)
    if metric not in experiment.manifest.metrics:
        scored = ", ".join(experiment.manifest.metrics)
        raise ConfigurationError(f"metric {metric!r} was not scored in {experiment.name!r}; it has: {scored}")
    asked = experiment.manifest.questions
    if questions is not None:
        ids = slice_of(asked, questions)
        asked = [question for question in asked if question.id in ids]
    wait_until_served(url, promotion.trial, wait_seconds)
    golden = GoldenDataset(tuple(asked), experiment.manifest.golden_dataset.uri)
    # The judge of this process scores; the other versions are those of the answers' experiment.
    here = {**experiment.manifest.versions, "ragas": versions()["ragas"]}
    served = replace(
        experiment,
        name="the service",
        manifest=replace(experiment.manifest, golden_dataset=golden, versions=here),
        results=(TrialResult(recorded.trial, _scored(url, experiment, golden, metric, settings, fresh)),),
        baselines=(),
    )
    before, notes = _replaced(promotion, served, metric, settings)
    notes = [_same_answers(served.results[0], recorded), *notes]
    records = {f"its record in {experiment.name}": replace(experiment, results=(recorded,)), **before}
    against = [
        (name, against_baseline(served, _only(record, golden), metric, margin, n_checks=len(records)))
        for name, record in records.items()
    ]
    return ServedCheck(experiment.name, promotion.trial, len(asked), tuple(against), tuple(notes))


def wait_until_served(url: str, trial: str, seconds: float) -> None:
    """Wait until a service is ready and answers with a trial.

    Raises:
        ServiceError, ConfigurationError: if it is not ready, or serves another trial, after this time.
    """
    give_up, problem = time.monotonic() + seconds, DreamError()
    while True:
        try:
            reply = httpx.get(f"{url.rstrip('/')}/readyz", timeout=10, trust_env=False)
            state = reply.json() if reply.is_success else {}
            if reply.is_success and state.get("trial") == trial:
                return
            if reply.is_success:
                problem = ConfigurationError(
                    f"{url} serves trial {state.get('trial')}, but the winner is {trial}: wait for the rollout to "
                    f"finish, or give the file that is served"
                )
            else:
                problem = ServiceError(f"{url}/readyz says {reply.status_code}: {reply.text[:200]}")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, AttributeError) as error:
            problem = ServiceError(f"{url}/readyz does not answer as `dream serve` does: {error}")
        if time.monotonic() >= give_up:
            raise problem
        time.sleep(_LOOK_SECONDS)


def _recorded(experiment: ExperimentResult, promotion: Promotion) -> TrialResult:
    """The recorded result of the promoted trial."""
    if experiment.manifest.golden_dataset.digest != promotion.questions.digest:
        raise DataError(
            f"the golden questions of {experiment.name!r} are not those of the winner "
            f"({promotion.questions.digest[:12]}): export it again from the experiment that is in storage"
        )
    return _result(experiment, promotion.trial)


def _result(experiment: ExperimentResult, trial: str) -> TrialResult:
    found = next((result for result in experiment.results if result.trial.id == trial), None)
    if found is None or found.evaluation is None:
        raise DataError(f"trial {trial} of {experiment.name!r} has no result in storage")
    return found


def _same_answers(served: TrialResult, recorded: TrialResult) -> str:
    texts = {answer.question_id: answer.text for answer in recorded.answers}
    same = sum(answer.text is not None and answer.text == texts.get(answer.question_id) for answer in served.answers)
    return f"{same} of {len(served.answers)} answers are identical to the recorded ones"


def _replaced(
    promotion: Promotion, served: ExperimentResult, metric: str, settings: Settings
) -> tuple[dict[str, ExperimentResult], list[str]]:
    """The record of the replaced trial if it can be compared, else a note."""
    before = promotion.replaces
    if before is None:
        return {}, []
    try:
        experiment = load_experiment(before.experiment, settings)
        record = replace(experiment, results=(_result(experiment, before.trial),))
        check_comparable(served, _only(record, served.manifest.golden_dataset))
    except DreamError as error:
        return {}, [f"not compared with trial {before.trial} of {before.experiment}, which it replaced: {error}"]
    if metric not in experiment.manifest.metrics:
        return {}, [f"not compared with trial {before.trial} of {before.experiment}: {metric} was not scored there"]
    return {f"trial {before.trial} of {before.experiment}, which it replaced": record}, []


def _only(experiment: ExperimentResult, golden: GoldenDataset) -> ExperimentResult:
    """The experiment restricted to the questions that were asked again."""
    ids = {question.id for question in golden.questions}
    kept = tuple(question for question in experiment.manifest.questions if question.id in ids)
    manifest = replace(experiment.manifest, golden_dataset=replace(experiment.manifest.golden_dataset, questions=kept))
    results = tuple(_of_questions(result, ids) for result in experiment.results)
    return replace(experiment, manifest=manifest, results=results, baselines=())


def _of_questions(result: TrialResult, ids: set[str]) -> TrialResult:
    evaluation = result.evaluation
    if evaluation is None:
        return result
    answers, scores, repeats = (
        tuple(each for each in part if each.question_id in ids)
        for part in (evaluation.answers, evaluation.scores, evaluation.repeats)
    )
    return replace(result, evaluation=replace(evaluation, answers=answers, scores=scores, repeats=repeats))


def _scored(
    url: str, experiment: ExperimentResult, golden: GoldenDataset, metric: str, settings: Settings, fresh: bool
) -> Evaluation:
    """The answers of a service and their scores on a metric."""
    manifest, evidence = experiment.manifest, {}
    if find_metric(metric).needs_evidence:
        storage = open_storage(manifest.documents.uri or settings.documents_uri, settings)
        evidence = locate(golden.questions, load_documents(storage, settings=settings).documents)
    options = EvaluationOptions(
        manifest.judge_llm,
        manifest.judge_embed_model,
        [metric],
        manifest.strictness,
        trial="served",
        evidence=evidence,
    )
    with services.in_this_process(), gateway_client.opened(settings):
        engine = served_engine(url, settings.serve_token or "", int(time.time()) if fresh else 0)
        return evaluator(engine, golden.questions, options)


def served_engine(url: str, token: str, repeat: int = 0) -> "BaseQueryEngine":
    """A query engine that asks `dream serve`. Each `repeat` other than 0 bypasses the cache once."""

    async def ask_service(question: str) -> tuple[str, Sequence[Any]]:
        asked = {"question": question, **({"repeat": repeat} if repeat else {})}
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            return await _asked(client, f"{url.rstrip('/')}/answer", token, asked)

    return OwnSystem(ask_service, "service", AT_ONCE)(None, None)


async def _asked(client: httpx.AsyncClient, url: str, token: str, body: Mapping[str, Any]) -> tuple[str, Sequence[Any]]:
    """The answer and the passages.

    Raises:
        ServiceError: if the service does not answer.
        DataError: if the service reports that its RAG system failed on the question.
    """
    reason = ""
    for attempt in range(_ATTEMPTS):
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            reply = await client.post(url, json=body, headers=headers)
            if reply.is_success:
                found = reply.json()
                return found["answer"], found["passages"]
            reason = f"status {reply.status_code}: {reply.text[:300]}"
            if reply.status_code == 422:
                raise DataError(f"the service has no answer: {reason}")
            if reply.status_code not in _LATER:
                break
        except (httpx.HTTPError, json.JSONDecodeError, KeyError) as error:
            reason = f"{type(error).__name__}: {error}"
        await asyncio.sleep(0.2 * 2**attempt)
    remedy = "set DREAM_SERVE_TOKEN to the service's token" if "invalid_api_key" in reason else "look at its log"
    raise ServiceError(f"{url} did not answer ({reason}): {remedy}")
