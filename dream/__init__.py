"""DREAM: Distributed RAG Experimentation Framework.

The names that most users need. Importing them needs no network, no key, no Ray and no MLflow: a name is loaded when it
is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dream import renamed

if TYPE_CHECKING:
    from dream.comparison import compare as compare, leaderboard as leaderboard
    from dream.documents import prepare_documents as prepare_documents
    from dream.experiments import (
        load_experiment as load_experiment,
        run_experiment as run_experiment,
        stop_trial as stop_trial,
    )
    from dream.golden import (
        generate_golden_dataset as generate_golden_dataset,
        load_golden_dataset as load_golden_dataset,
    )
    from dream.models import embed_model_picker as embed_model_picker, llm_picker as llm_picker
    from dream.rag import SearchSpace as SearchSpace, query_engine_picker as query_engine_picker
    from dream.reporting import parallel_coordinates as parallel_coordinates
    from dream.settings import Settings as Settings
    from dream.tracking import track as track

_HOMES = {
    "SearchSpace": "rag",
    "Settings": "settings",
    "compare": "comparison",
    "embed_model_picker": "models",
    "generate_golden_dataset": "golden",
    "leaderboard": "comparison",
    "llm_picker": "models",
    "load_experiment": "experiments",
    "load_golden_dataset": "golden",
    "parallel_coordinates": "reporting",
    "prepare_documents": "documents",
    "query_engine_picker": "rag",
    "run_experiment": "experiments",
    "stop_trial": "experiments",
    "track": "tracking",
}
__all__ = list(_HOMES)

renamed.install()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"dream has no {name!r}; it has: {', '.join(_HOMES)}")
    return getattr(import_module(f"dream.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
