"""`promotion_from`: the recommended trial of an experiment, or another of its trials, as a `Promotion`."""

import sys
from dataclasses import replace
from typing import Any

import yaml

from dream import services
from dream.comparison import comparison
from dream.comparison.intervals import interval
from dream.comparison.score_table import score_table
from dream.documents.loading import load_documents
from dream.errors import ConfigurationError, DataError, DreamError, bullets
from dream.experiments.stopping import find_trials
from dream.experiments.study import SECRET_CHARACTERS
from dream.indexes.client import index_spec
from dream.indexes.contexts import writer_of
from dream.indexes.store import documents_digest
from dream.metrics import definition_of
from dream.models import gateway_client
from dream.models.pickers import endpoint_urls, split_identifier
from dream.rag.answers import models_of
from dream.rag.methods import RAG_METHODS, imported_method, index_request
from dream.rag.own_systems import OwnSystem, is_http_system
from dream.rag.travelling import is_built_in
from dream.records import ExperimentResult, TrialResult, full_name, telling_parameters
from dream.serving.promotion import (
    FORMAT,
    Documents,
    Evidence,
    Judge,
    Promotion,
    Questions,
    Scored,
    replacing,
)
from dream.settings import OFFLINE, Settings, safe_uri
from dream.storage import open_storage
from dream.tracking.mlflow_link import experiment_page


def promotion_from(
    experiment: ExperimentResult,
    settings: Settings,
    *,
    trial: str | None = None,
    metric: str | None = None,
    margin: float | None = None,
    method: str | None = None,
    replaces: Promotion | None = None,
) -> Promotion:
    """Create the promotion of a trial.

    Args:
        trial: a trial other than the recommended one, by its id, the beginning of the id, or its name.
        metric, margin: as in a comparison.
        method: `package.module:function` of a user's own method; by default its location in the study file or in this
            process.
        replaces: the promotion in use now, which is recorded if it is another trial.

    Raises:
        ConfigurationError: for a trial that cannot be served, naming every reason with its remedy.
        DataError: if no trial can be ranked, or the documents are no longer those of the experiment.
    """
    result, metric, margin, reason = _chosen(experiment, trial, metric, margin)
    manifest, chosen = experiment.manifest, result.trial
    name = _method(experiment, chosen.query_engine_identifier, method)
    index = _index_key(experiment, result, settings)
    with services.in_this_process(), gateway_client.opened(settings):
        asked = [name for name in models_of(chosen) if split_identifier(name)[0] != OFFLINE]  # these have any port
        endpoints = endpoint_urls(asked)
    promotion = Promotion(
        format=FORMAT,
        method=name,
        llm=chosen.llm_identifier,
        embed_model=chosen.embed_model_identifier,
        parameters={
            key: list(value) if isinstance(value, tuple) else value for key, value in chosen.parameters.items()
        },
        trial=chosen.id,
        index=index,
        documents=Documents(uri=safe_uri(manifest.documents.uri), digest=manifest.documents.digest),
        endpoints={key: safe_uri(url) for key, url in (manifest.endpoints or endpoints).items() if key in endpoints},
        metric=metric,
        margin=margin,
        reason=reason,
        scores={each: _scored(experiment, result, each) for each in manifest.metrics},
        questions=Questions(
            uri=safe_uri(manifest.golden_dataset.uri),
            digest=manifest.golden_dataset.digest,
            number=len(manifest.questions),
        ),
        judge=Judge(
            llm=manifest.judge_llm, embed_model=manifest.judge_embed_model, strictness=max(1, manifest.strictness)
        ),
        evidence=Evidence(
            experiment=experiment.name,
            experiments=safe_uri(settings.experiments_uri),
            mlflow=experiment_page(settings, experiment.name),
        ),
        replaces=replacing(replaces, chosen.id),
        offline=manifest.offline,
        versions=dict(manifest.versions),
    )
    _check_no_secret(promotion, settings)
    return promotion


def _chosen(
    experiment: ExperimentResult, trial: str | None, metric: str | None, margin: float | None
) -> tuple[TrialResult, str, float, str]:
    """The chosen result, the metric and margin of the choice, and the reason."""
    metric = metric or comparison.default_metric(experiment)
    compared = comparison.compare(experiment, metric, margin=margin)
    recommendation = compared.recommendation
    results = {result.trial.id: result for result in experiment.results}
    if trial is None:
        return results[recommendation.trial.id], metric, recommendation.margin, recommendation.why
    parameters = telling_parameters(result.trial for result in experiment.results)
    names = {trial_id: full_name(result.trial, parameters[trial_id]) for trial_id, result in results.items()}
    found, problems = find_trials([trial], names)
    if problems:
        raise ConfigurationError(bullets(f"nothing of {experiment.name!r} was exported:", problems))
    standing = next(each for each in compared.standings if each.trial.id == found[0])
    if standing.rank is None:
        raise ConfigurationError(
            f"trial {names[found[0]]} of {experiment.name!r} was not exported: {standing.why_not_ranked}; resume the "
            f"experiment (dream run --resume {experiment.name}) or choose another trial"
        )
    return results[found[0]], metric, recommendation.margin, ""


def _method(experiment: ExperimentResult, name: str, given: str | None) -> str:
    """The name of the method in a winner file.

    Raises:
        ConfigurationError: for a method that another process cannot import.
    """
    if name in RAG_METHODS and is_built_in(RAG_METHODS[name]):
        return name
    path = given or _named_in_study(experiment.manifest.study, name)
    if path:
        if imported_method(path) != name:
            raise ConfigurationError(f"--method {path}: the trial's method is {name!r}")
        return path
    method = RAG_METHODS.get(name)
    module = _module_of(method.function) if method else None
    if is_http_system(method.function) if method else name in _services_of(experiment.manifest.study):
        raise ConfigurationError(
            f"{name} is your own service, which already answers over HTTP: there is nothing to serve. Use it directly, "
            f"or export another trial (--trial)"
        )
    is_inner = bool(method) and "<locals>" in getattr(_wrapped(method.function), "__qualname__", "")
    if module and module != "__main__" and not is_inner:
        return f"{module}:{name}"
    where = "is not registered here"
    if module:
        where = "is defined " + ("in a notebook or script" if module == "__main__" else "inside a function")
    raise ConfigurationError(
        f"the RAG method {name!r} {where}, so a server cannot import it: move it into a package that is installed "
        f"where the winner is served, and name it: dream export {experiment.name} "
        f"--method package.module:{name}"
    )


def _wrapped(function: Any) -> Any:
    return function.__wrapped__ if isinstance(function, OwnSystem) else function


def _module_of(function: Any) -> str | None:
    module = getattr(_wrapped(function), "__module__", None)
    return "__main__" if module and not getattr(sys.modules.get(module), "__file__", None) else module


def _systems_of(study: str) -> list[Any]:
    return (yaml.safe_load(study) or {}).get("systems", []) if study else []


def _services_of(study: str) -> list[str]:
    """The names of the HTTP services of a study file."""
    return [each["service"] for each in _systems_of(study) if isinstance(each, dict) and "service" in each]


def _named_in_study(study: str, name: str) -> str | None:
    """`package.module:name`, if the study file has it."""
    methods = [each.get("method") if isinstance(each, dict) else each for each in _systems_of(study)]
    flat = [method for each in methods for method in (each if isinstance(each, list) else [each])]
    return next((method for method in flat if isinstance(method, str) and method.endswith(f":{name}")), None)


def _index_key(experiment: ExperimentResult, result: TrialResult, settings: Settings) -> str:
    """The key of the trial's index in storage; "" for an index that is built in memory.

    Raises:
        DataError: if the documents have changed since the experiment.
    """
    request, documents = index_request(result.trial), experiment.manifest.documents
    if not (request.embed_model or writer_of(request.parameters)):
        return ""
    uri = documents.uri or settings.documents_uri
    loaded = load_documents(open_storage(uri, settings), settings=settings)
    if loaded.digest != documents.digest:
        raise DataError(
            f"the documents in {safe_uri(uri)} have changed since {experiment.name!r}: its scores do not apply to the "
            f"changed documents. Run the experiment again on them (under another name), and export its winner"
        )
    with services.in_this_process(), gateway_client.opened(settings):
        return index_spec(documents_digest(loaded.documents), *request).key


def _scored(experiment: ExperimentResult, result: TrialResult, metric: str) -> Scored:
    """The scores of a trial on a metric, in the metric's own direction."""
    alone = replace(experiment, results=(result,), baselines=())
    try:
        table = score_table(alone, metric)
    except DreamError:  # it applies to no question
        return Scored(mean=None, low=0.0, high=1.0, questions=0)
    (least, most), n = table.limits, int(table.scored[0])
    between = interval(table.values[:, 0], table.clusters, limits=table.limits)
    mean, low, high = (float(min(max(each, least), most)) for each in (between.mean, between.low, between.high))
    if definition_of(metric, experiment.manifest.own_metrics).lower_is_better:
        mean, low, high = 1 - mean, 1 - high, 1 - low
    rounded = [round(each, 4) for each in (mean, low, high)]
    return Scored(
        mean=rounded[0] if n else None, low=rounded[1], high=rounded[2], questions=n, failed=int(table.n_failed[0])
    )


def _check_no_secret(promotion: Promotion, settings: Settings) -> None:
    """Raise a ConfigurationError if a key of the settings is in the file, such as in a prompt."""
    text = promotion.to_yaml()
    if any(secret in text for secret in settings.secrets() if len(secret) >= SECRET_CHARACTERS):
        raise ConfigurationError(
            "the winner file would contain an API key of the settings; look for it in the trial's parameters (prompt, "
            "system_prompt) and in the URIs of documents and questions, and remove it"
        )
