"""The checks of `dream doctor`: every service that an experiment needs, with the remedy for each problem."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from textwrap import indent

from dream import engines
from dream.engines import choose_engine
from dream.errors import ConfigurationError, DreamError
from dream.golden.generator import generator_forms
from dream.metrics import METRICS
from dream.models import gateway_client
from dream.models.model_check import Form, check_models
from dream.models.pickers import check_identifiers
from dream.settings import Settings, safe_uri
from dream.storage import open_storage
from dream.tracking.tracker import check_mlflow


@dataclass(frozen=True)
class Finding:
    """The state of one part of the installation; `problem` is None if it works, otherwise the error and its remedy.

    `notes` tell a user about limitations of a part that works.
    """

    part: str
    detail: str
    problem: str | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        line = f"{'ok' if self.problem is None else 'BAD':<3}  {self.part:<15}  {self.detail}"
        below = [self.problem] if self.problem is not None else self.notes
        return indent("\n".join([line, *below]), " " * 5).lstrip()


def examine(settings: Settings) -> Iterator[Finding]:
    """Check Python, storage, MLflow, the engine and the models, one after another.

    A missing bucket or folder is created. Each model receives requests such as an experiment sends, a handful in all,
    which may cost money; offline models one small request.
    """
    yield Finding("Python", f"{sys.version.split()[0]}, ray {version('ray')}, dream-rag {version('dream-rag')}")
    for part, uri in _storage_uris(settings).items():
        yield _check(part, uri, lambda uri=uri: open_storage(uri, settings).ensure())
    yield _check("MLflow", safe_uri(settings.mlflow_tracking_uri), lambda: check_mlflow(settings))
    choice = choose_engine(None, settings)
    with ExitStack() as stack:
        detail = f"{choice.engine}, {choice.reason}"
        yield _check("engine", detail, lambda: stack.enter_context(engines.opened(choice, settings)))
        stack.enter_context(gateway_client.opened(settings))
        for part in _models(settings):
            identifiers = dict.fromkeys([*part.llms, *part.forms, *part.embed_models])
            yield _check(part.name, ", ".join(identifiers), partial(_check_models, part, list(identifiers), settings))


def _storage_uris(settings: Settings) -> dict[str, str]:
    return {
        "documents": settings.documents_uri,
        "golden datasets": settings.golden_datasets_uri,
        "experiments": settings.experiments_uri,
        "cache": settings.cache_uri,
    }


@dataclass(frozen=True)
class _Models:
    """Models with the same task. `forms` lists those that must answer in JSON, with the requests they receive."""

    name: str
    llms: tuple[str, ...] = ()
    embed_models: tuple[str, ...] = ()
    forms: Mapping[str, Callable[[], Sequence[Form]]] = field(default_factory=dict)


def _models(settings: Settings) -> list[_Models]:
    return [
        _Models("models", settings.llms, settings.embed_models),
        _Models("judge", (), (settings.judge_embed_model,), {settings.judge_llm: _judge_forms}),
        _Models("generator", (), (), {settings.generator_llm: generator_forms}),
    ]


def _judge_forms() -> list[Form]:
    from dream.evaluation.judge_check import judge_forms

    return judge_forms(METRICS)


def _check_models(models: _Models, identifiers: Sequence[str], settings: Settings) -> list[str]:
    if problems := check_identifiers(identifiers, settings):
        raise ConfigurationError("; ".join(problems))
    return check_models(models.llms, models.embed_models, models.forms)


def _check(part: str, detail: str, check: Callable[[], object]) -> Finding:
    try:
        result = check()
    except DreamError as error:
        return Finding(part, detail, str(error))
    return Finding(part, detail, notes=tuple(map(str, result)) if isinstance(result, list) else ())
