"""`opened_engine`: the query engine of a promotion, identical to that of its trial, over the index of its
experiment."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dream.documents.loading import load_documents
from dream.errors import ConfigurationError, DataError, bullets
from dream.evaluation.asking import count_tokens_by_question
from dream.indexes import client as index_client
from dream.indexes.client import QUERY_STAGE, get_index, index_spec
from dream.indexes.store import documents_digest, load_index, stored_spec
from dream.models.cross_encoder import is_local
from dream.models.pickers import check_identifiers, embed_model_picker, endpoint_urls, llm_picker
from dream.progress import Show
from dream.rag.answers import models_of, rerankers_of
from dream.rag.methods import index_request, query_engine_picker
from dream.runtime.libraries import prepare_libraries
from dream.runtime.provenance import versions
from dream.serving.promotion import Promotion
from dream.settings import Settings, safe_uri
from dream.storage import open_storage

if TYPE_CHECKING:
    from llama_index.core import VectorStoreIndex
    from llama_index.core.base.base_query_engine import BaseQueryEngine

# The packages whose versions affect a query engine's answers.
_DECIDING = ("dream-rag", "llama-index-core")


def opened_engine(
    promotion: Promotion, settings: Settings, *, build: bool = False, show: Show = None
) -> "BaseQueryEngine":
    """The query engine; the gateway must be open in this process.

    Args:
        build: build the index if it is not in storage; it must get the same key.

    Raises:
        ConfigurationError: for models without an endpoint, an embedding model on another server than in the experiment,
            or a cross-encoder with changed files.
        DataError: if the index is not in storage, or the documents have changed.
    """
    prepare_libraries()
    count_tokens_by_question()
    trial = promotion.as_trial
    if problems := check_identifiers(models_of(trial), settings):
        raise ConfigurationError(bullets("the models of the winner cannot be used:", problems))
    _check_cross_encoder(promotion)
    llm = llm_picker(trial.llm_identifier, trial=trial.id) if trial.llm_identifier else None
    index = _index(promotion, settings, build, show)
    return query_engine_picker(trial.query_engine_identifier, index, llm, trial.parameters, trial=trial.id)


def _check_cross_encoder(promotion: Promotion) -> None:
    """Raise a ConfigurationError if the local cross-encoder is not the one of the experiment."""
    local = [name for name in rerankers_of(promotion.as_trial) if is_local(name)]
    for name, digest in endpoint_urls(local).items():
        if (measured := promotion.endpoints.get(name, digest)) != digest:
            raise ConfigurationError(
                f"the files of {name} are not those of the experiment ({digest}, measured with {measured}): put the "
                "measured model there, or run the experiment again and export its winner"
            )


def differing_versions(promotion: Promotion) -> list[str]:
    """Packages whose versions differ from the experiment's, e.g. `dream-rag 0.1.0, here 0.2.0`."""
    here = versions()
    differing = [name for name in _DECIDING if promotion.versions.get(name) not in (None, here.get(name))]
    return [f"{name} {promotion.versions[name]}, here {here.get(name)}" for name in differing]


def differing_models(promotion: Promotion) -> list[str]:
    """Models whose URLs differ from the experiment's; the gateway must be open."""
    here = {name: safe_uri(url) for name, url in endpoint_urls(promotion.endpoints).items()}
    return [f"{name} was at {url}, here at {here[name]}" for name, url in promotion.endpoints.items()
            if url != here[name]]  # fmt: skip


def _index(promotion: Promotion, settings: Settings, build: bool, show: Show) -> "VectorStoreIndex":
    from dream.indexes.nodes import vector_index
    from dream.indexes.without_vectors import word_index

    trial = promotion.as_trial
    request = index_request(trial)
    if not promotion.index:
        return get_index(_documents(promotion, settings, show), *request, trial=trial.id)
    cache = open_storage(settings.cache_uri, settings)
    spec = stored_spec(cache, promotion.index)
    if spec is not None:
        expected = index_spec(spec.documents, *request)
        if expected.key != promotion.index:
            raise ConfigurationError(_other_index(promotion, spec.endpoint, expected.endpoint))
        if (data := load_index(cache, spec)) is not None:
            if not request.embed_model:
                return word_index(data)
            return vector_index(data, embed_model_picker(request.embed_model, stage=QUERY_STAGE, trial=trial.id))
    if not build:
        raise DataError(
            f"the index {promotion.index} is not in {cache.uri('indexes')}, or is damaged: give the storage that the "
            "experiment used (S3_ENDPOINT_URL, DREAM_CACHE_URI), or build it from the documents: dream serve --build"
        )
    documents = _documents(promotion, settings, show)
    expected = index_spec(documents_digest(documents), *request)
    if expected.key != promotion.index:
        raise ConfigurationError(_other_index(promotion, "", expected.endpoint))
    with index_client.opened(settings, show):
        return get_index(documents, *request, trial=trial.id)


def _other_index(promotion: Promotion, measured: str, here: str) -> str:
    """The reason why an index built here would not be that of the experiment."""
    reasons = differing_versions(promotion)
    measured = measured or promotion.endpoints.get(promotion.embed_model, "")
    if measured and here and measured.partition("://")[2] not in (here, "") and measured != here:
        reasons.append(f"the models of the index were at {measured}, here they are at {here}")
    reasons = reasons or ["the names of the documents, or their reading options, differ"]
    return bullets(
        f"the index {promotion.index} of the winner differs from the one that would be built here; serve it where the "
        f"experiment ran, or run the experiment again here and export its winner:",
        reasons,
    )


def _documents(promotion: Promotion, settings: Settings, show: Show) -> Sequence[Any]:
    """The documents of the experiment.

    Raises:
        DataError: if they have changed.
    """
    uri = promotion.documents.uri
    loaded = load_documents(open_storage(uri, settings), settings=settings, show=show)
    if loaded.digest != promotion.documents.digest:
        raise DataError(
            f"the documents in {uri} have changed since the experiment {promotion.evidence.experiment!r}: run an "
            "experiment on them and export its winner, or restore them"
        )
    return loaded.documents
