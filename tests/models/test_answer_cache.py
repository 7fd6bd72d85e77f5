"""Answers are paid once: across processes, batches and storages, and never when they are damaged or failed."""

import asyncio
import base64
import hashlib
import json
from array import array
from dataclasses import replace
from pathlib import Path

import httpx
import openai
import pytest
from lab import S3Server
from model_servers import ModelServer, Reply, chat_reply, endpoint_settings

from dream.errors import StorageError
from dream.models import answer_cache, gateway_client
from dream.models.answer_cache import AnswerCache, Entry
from dream.models.cache_contents import contents, empty
from dream.models.cache_format import slug
from dream.models.gateway import GatewayOptions
from dream.models.http_transport import GatewayTransport
from dream.models.pickers import embed_model_picker, judge_llm_picker, llm_picker
from dream.runtime.event_loop import run_async
from dream.settings import Settings
from dream.storage import LocalStorage, open_storage

TEXTS = [f"text number {number}" for number in range(12)]


@pytest.fixture
def settings(model_server: ModelServer, relay, no_environment, tmp_path: Path) -> Settings:
    return endpoint_settings(model_server, relay, DREAM_CACHE_URI=str(tmp_path / "cache"))


def files_of(settings: Settings) -> list[Path]:
    return sorted(path for path in Path(settings.cache_uri).rglob("*") if path.is_file())


def test_a_second_gateway_pays_nothing(settings, model_server):
    answers = []
    for _ in range(2):
        with gateway_client.opened(settings) as gateway:
            answers.append(
                (
                    llm_picker("llm-large").complete("hello").text,
                    embed_model_picker("embed-small").get_text_embedding_batch(TEXTS),
                )
            )
            rows = {row.stage: row for row in gateway.usage()}
    assert answers[0] == answers[1]
    assert model_server.counters()["calls"] == 2
    assert all(row.cached == row.calls == 1 for row in rows.values())
    assert all(row.paid_prompt_tokens == 0 < row.prompt_tokens for row in rows.values())


def test_the_same_in_s3(settings, model_server, moto: S3Server):
    there = replace(
        settings,
        cache_uri="s3://dream-cache-test/below",
        s3_endpoint_url=moto.url,
        s3_access_key_id=moto.access_key_id,
        s3_secret_access_key=moto.secret_access_key,
    )
    open_storage(there.cache_uri, there).ensure()
    for _ in range(2):
        with gateway_client.opened(there):
            llm_picker("llm-large").complete("hello")
            embed_model_picker("embed-small").get_text_embedding_batch(TEXTS)
    assert model_server.counters()["calls"] == 2
    storage = open_storage(there.cache_uri, there)
    assert sum(model.entries for model in contents(storage)) == 1 + len(TEXTS)
    assert empty(storage) > 0
    assert contents(storage) == []


def test_another_batching_of_texts_pays_only_for_new_ones(settings, relay):
    with gateway_client.opened(settings):
        model = embed_model_picker("embed-small@relay")
        first = model.get_text_embedding_batch(TEXTS[:8])
        model.get_text_embedding(TEXTS[9])
    with gateway_client.opened(settings) as gateway:
        model = embed_model_picker("embed-small@relay")
        model.embed_batch_size = 5
        second = model.get_text_embedding_batch(TEXTS)
        usage = gateway.usage()
    assert second[:8] == first
    asked = [text for seen in relay.requests[2:] for text in seen.body["input"]]
    assert sorted(asked) == sorted(text for text in TEXTS[8:] if text != TEXTS[9])
    assert (usage[0].calls, usage[0].cached) == (3, 1)


def test_identical_requests_under_way_are_sent_once(settings, model_server):
    async def together():
        llm = llm_picker("llm-large")
        model = embed_model_picker("embed-small")
        return await asyncio.gather(
            *(llm.acomplete("the same") for _ in range(20)), *(model.aget_text_embedding("the same") for _ in range(20))
        )

    model_server.faults(chat_latency_ms=100, embedding_latency_ms=100)
    with gateway_client.opened(settings) as gateway:
        assert len(run_async(together())) == 40
        rows = gateway.usage()
    assert model_server.counters()["calls"] == 2
    assert [(row.calls, row.cached) for row in rows] == [(20, 19), (20, 19)]


def test_only_a_repeat_number_asks_again(settings, relay):
    from pydantic import BaseModel

    class Statements(BaseModel):
        statements: list[str]

    relay.script = lambda seen: chat_reply({"statements": ["one"]})
    with gateway_client.opened(settings) as gateway:
        for number in (0, 0, 1):
            judge = judge_llm_picker("judge@relay", repeat=number)
            assert run_async(judge.agenerate("break it down", Statements)).statements == ["one"]
        (row,) = gateway.usage()
    assert (row.calls, row.cached, row.sent) == (3, 1, len(relay.requests)) == (3, 1, 2)


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"", bytes.upper])
def test_damaged_entries_are_ignored_and_replaced(settings, model_server, damage):
    def use() -> tuple:
        with gateway_client.opened(settings):
            return (
                llm_picker("llm-large").complete("hello").text,
                embed_model_picker("embed-small").get_text_embedding_batch(TEXTS),
            )

    whole = use()
    for path in files_of(settings):
        if path.suffix != ".keys":
            path.write_bytes(damage(path.read_bytes()))
    assert use() == whole
    assert model_server.counters()["calls"] == 4
    assert use() == whole
    assert model_server.counters()["calls"] == 4


def test_failures_and_useless_answers_are_not_kept(settings, relay):
    with gateway_client.opened(settings) as gateway:
        relay.script = lambda seen: Reply(400, {"error": {"message": "no"}})
        with pytest.raises(openai.BadRequestError):
            llm_picker("llm-large@relay").complete("hello")
        relay.reset()
        assert llm_picker("llm-large@relay").complete("hello").text
        assert sum(row.failed for row in gateway.usage()) == 1
    assert [path.suffix for path in files_of(settings)] == [".jsonl", ".keys"]


def test_an_answer_that_is_not_the_json_asked_for_is_asked_for_anew(settings, relay):
    client = openai.OpenAI(
        base_url="http://relay",
        api_key="unused",
        http_client=httpx.Client(transport=GatewayTransport()),
        max_retries=0,
    )
    relay.first(chat_reply({"wrong": 1}), chat_reply({"number": "7"}))
    schema = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
    asked = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    with gateway_client.opened(settings) as gateway:
        gateway.configure(GatewayOptions(settings.endpoints, first_backoff_seconds=0.0002))
        answer = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "a number"}], response_format=asked
        )
        again = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "a number"}], response_format=asked
        )
        (row,) = gateway.usage()
    assert json.loads(answer.choices[0].message.content) == {"number": 7}
    assert again == answer
    complaint = relay.requests[1].body["messages"][-1]["content"]
    assert "lacks `number`: it has `wrong`" in complaint
    assert (len(relay.requests), row.cached) == (2, 1)
    assert (row.paid_prompt_tokens, row.paid_completion_tokens) == (2 * 7, 2 * 3)
    assert (row.calls, row.retried, row.failed) == (2, 1, 0)


def test_storage_that_is_away_costs_no_answer_and_is_written_later(tmp_path, monkeypatch):
    monkeypatch.setattr(answer_cache, "RETRY_SECONDS", 0.05)

    class Away(LocalStorage):
        down = True

        def write_bytes(self, key, content, *, durable=True):
            if Away.down:
                raise StorageError("nobody there")
            super().write_bytes(key, content, durable=durable)

    async def use() -> tuple:
        cache = AnswerCache(Away(str(tmp_path)))
        await cache.put("m", "k", Entry(b"answer", 1.0))  # returns though storage is away
        meanwhile = await cache.get("m", "k")
        in_storage = await AnswerCache(LocalStorage(str(tmp_path))).get("m", "k")
        Away.down = False
        await cache.flush()
        return meanwhile, in_storage, await AnswerCache(LocalStorage(str(tmp_path))).get("m", "k")

    assert run_async(use()) == (Entry(b"answer", 1.0), None, Entry(b"answer", 1.0))


def test_answers_of_a_run_are_joined_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(answer_cache, "GATHER_SECONDS", 0.01)
    storage = LocalStorage(str(tmp_path))
    keys = [f"key-{number}" for number in range(12)]

    async def use() -> tuple:
        cache = AnswerCache(storage)
        for number, key in enumerate(keys):
            await cache.put("m", key, Entry(key.encode(), 1.0, 2, 3))
            while number % 4 == 0 and len(storage.list("answers/")) < 2 + number // 2:
                await asyncio.sleep(0.01)
        many = len(storage.list("answers/"))
        await cache.flush()
        again = AnswerCache(storage)
        return many, [await again.get("m", key) for key in [*keys, "another"]]

    many, read = run_async(use())
    assert many >= 6
    assert [item.key.rpartition(".")[2] for item in storage.list("answers/")] == ["jsonl", "keys"]
    assert read == [*(Entry(key.encode(), 1.0, 2, 3) for key in keys), None]
    (model,) = contents(storage)
    assert model.entries == len(keys)


def test_objects_of_a_long_run_are_joined_as_it_goes_and_stay_readable(tmp_path, monkeypatch):
    monkeypatch.setattr(answer_cache, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(answer_cache, "OBJECT_BYTES", 2_000)
    monkeypatch.setattr(answer_cache, "MEMORY_BYTES", 500)
    storage = LocalStorage(str(tmp_path))
    keys = [f"key-{number}" for number in range(40)]

    async def use() -> tuple:
        cache = AnswerCache(storage)
        for key in keys:
            await cache.put("m", key, Entry(key.encode() * 20))
            await asyncio.sleep(0.015)
        read = [await cache.get("m", key) for key in keys]
        before = len(storage.list("answers/"))
        await cache.flush()
        return before, read

    before, read = run_async(use())
    assert read == [Entry(key.encode() * 20) for key in keys]
    assert before < len(keys)


def test_answers_that_version_0_1_wrote_are_read(tmp_path):
    """Each in a file of its own, with the check over its key and fields."""
    fields = {
        "content": base64.b64encode(b"answer").decode(),
        "seconds": 1.5,
        "prompt_tokens": 7,
        "completion_tokens": 2,
    }
    text = f"abcd {json.dumps(fields, sort_keys=True)}"
    entry = {"check": hashlib.sha256(text.encode()).hexdigest()[:16], **fields}
    storage = LocalStorage(str(tmp_path))
    storage.write_bytes(f"answers/{slug('m')}/ab/abcd.json", json.dumps(entry).encode())
    assert run_async(AnswerCache(storage).get("m", "abcd")) == Entry(b"answer", 1.5, 7, 2)
    (model,) = contents(storage)
    assert model.entries == 1


def write_as_version_0_1(settings: Settings, key: str, content: bytes) -> None:
    """Put an entry into the cache of the model `m@relay`."""
    fields = {
        "content": base64.b64encode(content).decode(),
        "seconds": 1.5,
        "prompt_tokens": 7,
        "completion_tokens": 0,
    }
    check = hashlib.sha256(f"{key} {json.dumps(fields, sort_keys=True)}".encode()).hexdigest()[:16]
    (relay,) = (endpoint for endpoint in settings.endpoints if endpoint.name == "relay")
    path = Path(settings.cache_uri, "answers", slug(f"{relay.base_url} m"), key[:2], f"{key}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"check": check, **fields}))


def only_key(settings: Settings) -> str:
    """The key of the only entry; the entry is removed."""
    (keys,) = (path for path in files_of(settings) if path.suffix == ".keys")
    key = keys.read_text()
    for path in files_of(settings):
        path.unlink()
    return key


BAD_ENTRIES = {
    "content null": chat_reply("").body | {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]},
    "an error": {"error": {"message": "overloaded"}},
    "choices null": {"choices": None},
    "cut before any text": chat_reply("", "length").body,
    "filtered": chat_reply("", "content_filter").body,
    "thinking alone": chat_reply("<think>so").body,
}


@pytest.mark.parametrize("habit", BAD_ENTRIES)
def test_a_bad_entry_of_an_earlier_version_is_asked_for_again_once(habit, settings, relay):
    relay.script = lambda seen: chat_reply("42 m")
    with gateway_client.opened(settings):
        llm_picker("m@relay").complete("How high?")
    write_as_version_0_1(settings, only_key(settings), json.dumps(BAD_ENTRIES[habit]).encode())
    relay.requests.clear()
    for _ in range(3):
        with gateway_client.opened(settings):
            assert llm_picker("m@relay").complete("How high?").text == "42 m"
    assert len(relay.requests) == 1


def test_thinking_and_missing_tokens_in_an_entry_of_an_earlier_version_are_mended_without_a_request(settings, relay):
    relay.script = lambda seen: chat_reply("42 m")
    with gateway_client.opened(settings):
        llm_picker("m@relay").complete("How high?")
    kept = {**chat_reply("<think>so</think>42 m").body, "usage": None}
    write_as_version_0_1(settings, only_key(settings), json.dumps(kept).encode())
    relay.requests.clear()
    with gateway_client.opened(settings) as gateway:
        answer = llm_picker("m@relay").complete("How high?")
        (row,) = gateway.usage()
    assert (answer.text, answer.raw.choices[0].message.reasoning_content) == ("42 m", "so")
    assert row.estimated_tokens == row.tokens == 10
    assert relay.requests == []


@pytest.mark.parametrize("vector", [[float("nan"), 1.0], [0.0, 0.0], [], [1.0, 2.0, 3.0]])
def test_a_bad_vector_of_an_earlier_version_is_asked_for_again(vector, settings, relay):
    """The last is that of another model, which had the same name."""
    relay.script = lambda seen: Reply(
        200, {"data": [{"index": i, "embedding": [len(text), 1.0]} for i, text in enumerate(seen.body["input"])]}
    )
    with gateway_client.opened(settings):
        embed_model_picker("m@relay").get_text_embedding("one")
    write_as_version_0_1(settings, only_key(settings), array("f", vector).tobytes())
    relay.requests.clear()
    with gateway_client.opened(settings):
        vectors = embed_model_picker("m@relay").get_text_embedding_batch(["three", "one", "seven words"])
    assert vectors == [[5.0, 1.0], [3.0, 1.0], [11.0, 1.0]]
    assert sum(len(seen.body["input"]) for seen in relay.requests) == 3


def test_answers_without_a_limit_of_tokens_are_used_where_they_ended_by_themselves(settings, relay):
    """As earlier versions asked for them."""
    with gateway_client.opened(settings):
        for text, finish in (("42 m", "stop"), ("It is and it is", "length")):
            relay.script = lambda seen, text=text, finish=finish: chat_reply(text, finish)
            unlimited = llm_picker("m@relay")
            unlimited.additional_kwargs = {}
            unlimited.complete(f"Say {finish}")
    relay.requests.clear()
    relay.script = lambda seen: chat_reply("new")
    with gateway_client.opened(settings) as gateway:
        answers = [llm_picker("m@relay").complete(f"Say {finish}").text for finish in ("stop", "length")]
        (row,) = gateway.usage()
    assert answers == ["42 m", "new"]
    assert (row.cached, len(relay.requests)) == (1, 1)
