"""The call log: a line for each attempt, hit and joined request; no prompt, no answer, no key; files and folders."""

import asyncio
import json
from pathlib import Path

import pytest
from model_servers import KEY, Reply, endpoint_settings

from dream.errors import StorageError
from dream.models import gateway_client
from dream.models.call_log import OBJECT_BYTES, CallLog, LogFile, LogFolder, target_of
from dream.models.gateway import GatewayOptions
from dream.models.openai_wire import ModelRequest
from dream.models.pickers import embed_model_picker, llm_picker
from dream.settings import Settings
from dream.storage import open_storage

REQUEST = ModelRequest("lab", "POST", "/chat/completions", b"{}", "answer", "t1")


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_attempt_hit_and_joined_request_has_a_line(model_server, relay, no_environment, tmp_path):
    path = tmp_path / "calls.jsonl"
    settings = endpoint_settings(model_server, relay, DREAM_CALL_LOG=str(path))
    with gateway_client.opened(settings) as gateway:
        options = GatewayOptions(settings.endpoints, first_backoff_seconds=0.0002, call_log=target_of(settings))
        gateway.configure(options)
        llm = llm_picker("llm-large@relay", trial="t1")
        relay.first(Reply(500, {"error": {"message": f"broken, said {KEY}"}}))
        answer = llm.complete("the secret prompt").text
        llm.complete("the secret prompt")

        async def both() -> None:
            await asyncio.gather(llm.acomplete("another prompt"), llm.acomplete("another prompt"))

        asyncio.run(both())
        embed_model_picker("embed-small@relay", trial="t1").get_text_embedding_batch(["one", "two"])
    lines = lines_of(path)
    chat = [line for line in lines if line["model"] == "llm-large"]
    assert [line["outcome"] for line in chat[:3]] == ["sent", "sent", "hit"]
    assert sorted(line["outcome"] for line in chat[3:]) == ["joined", "sent"]
    failed, sent, hit = chat[:3]
    assert (failed["status"], failed["attempt"], failed["error"]) == (500, 1, "broken, said ***")
    assert (sent["status"], sent["attempt"], sent["stage"], sent["trial"]) == (200, 2, "answer", "t1")
    assert failed["key"] == sent["key"] == hit["key"] != chat[3]["key"] == chat[4]["key"]
    assert hit["prompt_tokens"] == sent["prompt_tokens"] > 0
    (embedding,) = [line for line in lines if line["model"] == "embed-small"]
    assert len(embedding["keys"]) == 2 and embedding["key"].startswith(embedding["keys"][0])
    for secret in ("secret prompt", answer, KEY):
        assert secret not in path.read_text()


async def test_a_file_is_appended_to_and_a_folder_gets_objects(tmp_path):
    file = LogFile(str(tmp_path / "new" / "calls.jsonl"))
    storage = open_storage(str(tmp_path / "calls"), Settings.from_environment({}))
    for target in (file, file, LogFolder(storage), LogFolder(storage)):
        log = CallLog(target)
        log.add("sent", REQUEST, "llm", ["k"], attempt=1)
        await log.flush()
        log.add("hit", REQUEST, "llm", ["k"])
        await log.flush()
    assert [line["outcome"] for line in lines_of(Path(file.path))] == ["sent", "hit"] * 2
    objects = sorted((tmp_path / "calls").glob("*.jsonl"))
    assert [[line["outcome"] for line in lines_of(path)] for path in objects] == [["sent", "hit"]] * 2


async def test_a_large_object_is_followed_by_another(tmp_path):
    storage = open_storage(str(tmp_path), Settings.from_environment({}))
    folder = LogFolder(storage)
    for _ in range(3):
        folder.write(b"x" * (OBJECT_BYTES // 2) + b"\n")
    assert [item.size for item in storage.list()] == [OBJECT_BYTES + 2, OBJECT_BYTES // 2 + 1]


async def test_lines_are_written_in_the_background_and_what_cannot_be_written_is_told(tmp_path, caplog):
    class Full:
        def write(self, lines: bytes) -> None:
            raise StorageError("the disk is full")

    log = CallLog(Full())
    log.add("sent", REQUEST, "llm")
    await log.flush()
    assert "1 lines of the call log are lost: the disk is full" in caplog.text
    silent = CallLog()
    silent.add("sent", REQUEST, "llm")
    await silent.flush()


@pytest.mark.parametrize(
    ("place", "kind"), [("calls.jsonl", LogFile), ("calls", LogFolder), ("calls/", LogFolder), ("", type(None))]
)
def test_a_path_with_an_ending_is_a_file(place, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isinstance(target_of(Settings.from_environment({"DREAM_CALL_LOG": place})), kind)
