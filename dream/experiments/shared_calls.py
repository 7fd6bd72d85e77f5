"""`SharedCalls`: calls that several trials make alike; the first trial pays, and the cache answers the others."""

from collections.abc import Mapping
from typing import NamedTuple

from dream.rag.registry import RagMethod
from dream.rag.retrievals import retrieval_of
from dream.records import Trial


class Shared(NamedTuple):
    """The calls of a trial that one before makes too: all for its retrieval and for judgements of passages without the
    answer; embeddings of the questions themselves."""

    retrieval: bool = False
    questions: bool = False


NOTHING_SHARED = Shared()


class SharedCalls:
    """Says of trials, one after another, what they share with those before."""

    def __init__(self, methods: Mapping[str, RagMethod] | None = None) -> None:
        self._methods, self._known = methods, set[str]()

    def of(self, trial: Trial) -> Shared:
        """The calls of this trial that trials before make too."""
        if trial.is_baseline:
            return Shared(self._was(trial.query_engine_identifier), False)
        retrieval, model = retrieval_of(trial, self._methods), trial.embed_model_identifier
        return Shared(self._was(retrieval.id), bool(model) and self._was(f"questions {model}"))

    def _was(self, call: str) -> bool:
        was = call in self._known
        self._known.add(call)
        return was
