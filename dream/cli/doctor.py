"""The checks of `dream doctor`: every service that an experiment needs, with the remedy for each problem."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from textwrap import indent

from dream import engines
from dream.engines import choose_engine
from dream.errors import ConfigurationError, DreamError
from dream.models import gateway_client
from dream.models.pickers import check_identifiers, check_models
from dream.settings import Settings, safe_uri
from dream.storage import open_storage
from dream.tracking.tracker import check_mlflow


@dataclass(frozen=True)
class Finding:
    """The state of one part of the installation; `problem` is None if it works, otherwise the error and its remedy."""

    part: str
    detail: str
    problem: str | None = None

    def __str__(self) -> str:
        line = f"{'ok' if self.problem is None else 'BAD':<3}  {self.part:<15}  {self.detail}"
        return line if self.problem is None else indent(f"{line}\n{self.problem}", " " * 5).lstrip()


def examine(settings: Settings) -> Iterator[Finding]:
    """Check Python, storage, MLflow, the engine and the models, one after another.

    A missing bucket or folder is created. Each model receives one small request, which may cost money.
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
        for part, llms, embed_models in _models(settings):
            check = partial(_check_models, llms, embed_models, settings)
            yield _check(part, ", ".join([*llms, *embed_models]), check)


def _storage_uris(settings: Settings) -> dict[str, str]:
    return {
        "documents": settings.documents_uri,
        "golden datasets": settings.golden_datasets_uri,
        "experiments": settings.experiments_uri,
        "cache": settings.cache_uri,
    }


def _models(settings: Settings) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [
        ("models", settings.llms, settings.embed_models),
        ("judge", (settings.judge_llm,), (settings.judge_embed_model,)),
        ("generator", (settings.generator_llm,), ()),
    ]


def _check_models(llms: tuple[str, ...], embed_models: tuple[str, ...], settings: Settings) -> None:
    if problems := check_identifiers([*llms, *embed_models], settings):
        raise ConfigurationError("; ".join(problems))
    check_models(llms, embed_models)


def _check(part: str, detail: str, check: Callable[[], object]) -> Finding:
    try:
        check()
    except DreamError as error:
        return Finding(part, detail, str(error))
    return Finding(part, detail)
