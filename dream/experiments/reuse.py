"""Reuses results of earlier experiments with exactly the same inputs, so that no trial starts and no model is called.

The cache of model answers would give the same answers and scores, but every question would pass through LlamaIndex and
ragas again. If a user has emptied that cache, nothing is reused.
"""

from collections.abc import Sequence
from dataclasses import replace

from dream.experiments import store
from dream.experiments.confirmation import as_confirmation
from dream.experiments.spec import PreparedExperiment
from dream.models.gateway_client import current_gateway
from dream.models.pickers import endpoint_urls, split_identifier
from dream.rag.answers import models_of
from dream.rag.baselines import metrics_of
from dream.rag.methods import find_rag_method
from dream.rag.travelling import is_built_in
from dream.records import Evaluation, Manifest, Repeats, Sift, Trial, TrialResult, UsageRow
from dream.records.evaluations import by_question, joined
from dream.runtime.provenance import versions
from dream.settings import OFFLINE, Settings
from dream.storage import open_storage


def results_taken_over(
    prepared: PreparedExperiment, settings: Settings, held_out: bool = False
) -> dict[str, TrialResult]:
    """Complete results of trials and baselines from earlier experiments, by trial id.

    A result is reused if documents, questions, judge, metrics, models with their endpoints, all versions and DREAM's
    source are the same, the RAG method is built in, no metric is a user's function, and the cache still has answers of
    the judge. A gateway must be open.

    Args:
        held_out: True if the experiment asks the questions that earlier experiments held out.
    """
    if any(metric.function for metric in prepared.context.own_metrics):  # what it calls may have changed
        return {}
    if not current_gateway().has_answers(*split_identifier(prepared.context.judge_llm)):
        return {}
    storage = open_storage(settings.experiments_uri, settings)
    taken: dict[str, TrialResult] = {}
    for name, manifest in store.load_manifests(storage).items():
        manifest = as_confirmation(manifest) if held_out else manifest
        if manifest is None or not is_alike(manifest, prepared) or manifest.versions != versions():
            continue
        wanted = [trial for trial in prepared.everything if trial.id not in taken and _is_same(trial, manifest)]
        for result in store.load_results(storage, store.held_out_part(name) if held_out else name, wanted):
            if (evaluation := _whole(result, prepared)) is not None:
                usage = tuple(map(_from_cache, result.usage))
                taken[result.trial.id] = replace(result, evaluation=evaluation, usage=usage, taken_from=name)
    return taken


def sift_taken_over(prepared: PreparedExperiment, settings: Settings) -> tuple[Sift, str] | None:
    """The outcome of an identical earlier sift, and the name of its experiment; None if there is none. A gateway must
    be open."""
    sift = prepared.sift
    if sift is None or sift.is_done or not all(map(_is_ours, prepared.trials)):
        return None
    trials = {trial.id for trial in prepared.trials}
    served = [model for trial in prepared.trials for model in models_of(trial) if not model.startswith(f"{OFFLINE}/")]
    urls = endpoint_urls(dict.fromkeys(served))
    for name, manifest in store.load_manifests(open_storage(settings.experiments_uri, settings)).items():
        found = manifest.sift
        if (
            found is not None
            and found.is_done
            and found.metric == sift.metric
            and {trial.id for trial in (*manifest.trials, *found.left_out)} == trials
            and manifest.golden_dataset.digest == prepared.context.golden_dataset.digest
            and manifest.documents.digest == prepared.documents.digest
            and manifest.versions == versions()
            and all(manifest.endpoints.get(model) == url for model, url in urls.items())
        ):
            return found, name
    return None


def _is_same(trial: Trial, manifest: Manifest) -> bool:
    """True if an experiment has the trial, and the URLs of its models and of the judge's are unchanged."""
    if trial.id not in {each.id for each in (*manifest.trials, *manifest.baselines)}:
        return False
    if not trial.is_baseline and not _is_ours(trial):
        return False
    models = [*models_of(trial), manifest.judge_llm, manifest.judge_embed_model]
    served = [model for model in models if not model.startswith(f"{OFFLINE}/")]
    return all(manifest.endpoints.get(model) == url for model, url in endpoint_urls(served).items())


def _is_ours(trial: Trial) -> bool:
    """True if the RAG method is built in: the recorded versions include DREAM's source, but not a user's method."""
    return is_built_in(find_rag_method(trial.query_engine_identifier))


def _whole(result: TrialResult, prepared: PreparedExperiment) -> Evaluation | None:
    """The evaluation of all questions, with the requested metrics and repeats; None if a part is missing."""
    if result.failure or result.evaluation is None:
        return None
    if any(answer.is_cut for answer in result.answers):  # the token limit may have changed
        return None
    metrics, repeats = metrics_of(result.trial, prepared.context.metrics), prepared.context.repeats_of(result.trial)
    parts = {part.answers[0].question_id: part for part in by_question(result.evaluation, metrics)}
    questions = prepared.questions_of(result.trial)
    if any(question.id not in parts or repeats.missing(parts[question.id], metrics) for question in questions):
        return None
    return _only(joined(parts[question.id] for question in questions), metrics, repeats.times)


def _only(evaluation: Evaluation, metrics: Sequence[str], times: int) -> Evaluation:
    """An evaluation without the further repeats that an earlier experiment had."""
    kept = (score for score in evaluation.repeats if score.repeat < times and score.metric in metrics)
    return replace(evaluation, repeats=tuple(kept))


def _from_cache(row: UsageRow) -> UsageRow:
    """The usage of the same calls if all had been answered from the cache."""
    nothing = {"sent": 0, "retried": 0, "failed": 0, "paid_prompt_tokens": 0, "paid_completion_tokens": 0}
    return replace(row, cached=row.calls, seconds=0.0, usd=0.0, **nothing)


def finished_before(
    prepared: PreparedExperiment, settings: Settings, but: str, held_out: bool = False
) -> dict[str, Repeats]:
    """Trials that an earlier experiment finished on the same questions, documents and judge, with its repeats: their
    calls are in the cache, unless it was emptied since."""
    storage = open_storage(settings.experiments_uri, settings)
    finished: dict[str, Repeats] = {}
    for name, manifest in store.load_manifests(storage).items():
        manifest = as_confirmation(manifest) if held_out else manifest
        if name == but or not manifest or not is_alike(manifest, prepared) or not store.load_usage(storage, name):
            continue
        part = store.held_out_part(name) if held_out else name
        results = store.load_results(storage, part, (*manifest.trials, *manifest.baselines))
        for trial_id in (result.trial.id for result in results if result.failure is None):
            if trial_id not in finished or manifest.repeats.times > finished[trial_id].times:
                finished[trial_id] = manifest.repeats
    return finished


def is_alike(manifest: Manifest, prepared: PreparedExperiment) -> bool:
    """True if an experiment asked all that these trials ask."""
    context = prepared.context
    same_strictness = "answer_relevancy" not in context.metrics or manifest.strictness == context.strictness
    return (
        manifest.golden_dataset.digest == context.golden_dataset.digest
        and manifest.documents.digest == prepared.documents.digest
        and manifest.judge_llm == context.judge_llm
        and manifest.judge_embed_model == context.judge_embed_model
        and set(context.metrics) <= set(manifest.metrics)
        and set(context.own_metrics) <= set(manifest.own_metrics)
        and same_strictness
    )
