"""`dream cache show KEY`: an answer, a vector, an unknown key, and a key that is not whole."""

import json

import pytest

from dream.models.answer_cache import AnswerCache, Entry
from dream.runtime.event_loop import run_async
from dream.settings import Settings
from dream.storage import open_storage

ANSWER = json.dumps({"choices": [{"message": {"role": "assistant", "content": "The mast carries 42 lamps."}}]})
VECTOR = bytes(4 * 384)


@pytest.fixture
def filled(dream) -> None:
    """A cache with an answer, a single vector, and a batch of vectors."""
    settings = Settings.from_environment()
    storage = open_storage(settings.cache_uri, settings)
    storage.ensure()

    async def fill() -> None:
        cache = AnswerCache(storage)
        await cache.put("http://lab/v1 llm", "ab12cd", Entry(ANSWER.encode(), 1.5, 12, 7))
        await cache.put("http://lab/v1 llm", "ab99", Entry(ANSWER.encode()))
        await cache.put_vectors("http://lab/v1 embed", {f"f{i}": Entry(VECTOR, prompt_tokens=3) for i in range(6)})
        assert await cache.flush() == 0

    run_async(fill())


@pytest.mark.parametrize("key", ["ab12cd", "ab1"])
def test_an_answer_is_shown_by_its_key_or_the_beginning_of_it(dream, filled, key):
    done = dream("cache", "show", key)
    assert done.code == 0
    for part in ("ab12cd", "lab", "llm", "1.500", "12 of the prompt, 7 of the answer", "The mast carries 42 lamps."):
        assert part in done.out


def test_of_a_vector_its_length_is_shown(dream, filled):
    done = dream("cache", "show", "f3")
    assert done.code == 0
    assert "384 numbers" in done.out


def test_an_unknown_key_is_an_error_and_a_short_one_lists_what_begins_so(dream, filled):
    unknown = dream("cache", "show", "zz")
    assert unknown.code == 1
    assert "no entry" in unknown.err and "'zz'" in unknown.err and "DREAM_CALL_LOG" in unknown.err
    several = dream("cache", "show", "ab")
    assert several.code == 1
    assert "2 keys begin with 'ab'" in several.err and "ab99" in several.err


@pytest.mark.parametrize("arguments", [["show"], ["list"], ["show", "a", "b"]])
def test_other_arguments_are_refused(dream, arguments):
    done = dream("cache", *arguments)
    assert done.code == 1
    assert "dream cache show KEY" in done.err
