"""DREAM: Distributed RAG Experimentation Framework.

The front door. Importing it needs no network, no key, no Ray and no MLflow; a name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dream.comparison import compare as compare
    from dream.comparison import leaderboard as leaderboard
    from dream.documents import prepare_documents as prepare_documents
    from dream.experiment import run_experiment as run_experiment
    from dream.golden_dataset import generate_golden_dataset as generate_golden_dataset
    from dream.golden_dataset import load_golden_dataset as load_golden_dataset
    from dream.models import embed_model_picker as embed_model_picker
    from dream.models import llm_picker as llm_picker
    from dream.plots import parallel_coordinates as parallel_coordinates
    from dream.query_engines import query_engine_picker as query_engine_picker
    from dream.results import load_experiment as load_experiment
    from dream.search_space import SearchSpace as SearchSpace
    from dream.settings import Settings as Settings
    from dream.tracking import track as track

_ROOMS = {
    "SearchSpace": "search_space",
    "Settings": "settings",
    "compare": "comparison",
    "embed_model_picker": "models",
    "generate_golden_dataset": "golden_dataset",
    "leaderboard": "comparison",
    "llm_picker": "models",
    "load_experiment": "results",
    "load_golden_dataset": "golden_dataset",
    "parallel_coordinates": "plots",
    "prepare_documents": "documents",
    "query_engine_picker": "query_engines",
    "run_experiment": "experiment",
    "track": "tracking",
}
__all__ = list(_ROOMS)


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"dream has no {name!r}; it has: {', '.join(_ROOMS)}")
    return getattr(import_module(f"dream.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_ROOMS)
