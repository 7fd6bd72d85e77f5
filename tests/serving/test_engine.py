"""The engine of a winner: over the index of its experiment, or none."""

from collections.abc import Iterator

import pytest

from dream import services
from dream.errors import ConfigurationError, DataError
from dream.indexes.store import FOLDER
from dream.models import gateway_client
from dream.serving.engine import differing_versions, opened_engine
from dream.settings import Settings
from dream.storage import open_storage


@pytest.fixture
def elsewhere(measured, tmp_path) -> Iterator[Settings]:
    """Settings with an empty cache, and their gateway."""
    settings = Settings.from_environment({**measured.environment, "DREAM_CACHE_URI": str(tmp_path / "cache")})
    with services.in_this_process(), gateway_client.opened(settings):
        yield settings


def test_an_index_that_is_missing_is_told_and_built_only_when_asked_for(measured, elsewhere: Settings):
    promotion = measured.promotion()
    with pytest.raises(DataError, match=f"the index {promotion.index} is not in .*dream serve --build"):
        opened_engine(promotion, elsewhere)
    opened_engine(promotion, elsewhere, build=True)
    stored = open_storage(elsewhere.cache_uri, elsewhere).list(f"{FOLDER}/{promotion.index}/")
    assert len(list(stored)) == 3


def test_an_index_of_another_version_is_not_taken_for_that_of_the_experiment(measured, elsewhere: Settings):
    wrong = measured.promotion().model_copy(
        update={"index": "0" * 32, "versions": {"llama-index-core": "0.1", "dream-rag": "0.0.1"}}
    )
    with pytest.raises(ConfigurationError) as caught:
        opened_engine(wrong, elsewhere, build=True)
    assert "differs from the one that would be built here; serve it where the experiment ran" in str(caught.value)
    assert [line.split()[0] for line in differing_versions(wrong)] == ["dream-rag", "llama-index-core"]
    assert "llama-index-core 0.1, here " in str(caught.value)


def test_documents_that_have_changed_are_told(measured, elsewhere: Settings, tmp_path):
    other = tmp_path / "documents"
    other.mkdir()
    (other / "new.txt").write_text("The tower of Mirn is 99 metres high.")
    promotion = measured.promotion()
    moved = promotion.model_copy(
        update={"documents": promotion.documents.model_copy(update={"uri": str(other)}), "index": "0" * 32}
    )
    with pytest.raises(DataError, match="have changed since the experiment 'measured': run an experiment on them"):
        opened_engine(moved, elsewhere, build=True)


def test_a_model_without_an_endpoint_is_told(measured, elsewhere: Settings):
    lost = measured.promotion().model_copy(update={"llm": "gpt-4o-mini@nowhere"})
    with pytest.raises(ConfigurationError, match=r"the models of the winner cannot be used:\n.*nowhere"):
        opened_engine(lost, elsewhere)
