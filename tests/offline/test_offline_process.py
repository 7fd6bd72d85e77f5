"""The server as a process: starting, stopping, dying with its parent, repeating itself."""

import subprocess
import sys
import time

import httpx
import pytest

from dream.errors import ConfigurationError, ServiceError
from dream.offline.process import OfflineServer

PARENT = """
from dream.offline.process import OfflineServer
server = OfflineServer.start()
print(server.base_url, flush=True)
import os; os._exit(1)
"""


def unreachable(base_url):
    for _ in range(50):
        try:
            httpx.get(base_url.removesuffix("/v1") + "/health", timeout=1)
        except httpx.HTTPError:
            return True
        time.sleep(0.1)
    return False


def test_start_takes_switches_and_stop_ends_it():
    with OfflineServer.start(chat_latency_ms=[1, 2], seed=5, retry_after=False) as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        faults = httpx.get(server.base_url.removesuffix("/v1") + "/faults").json()
        assert (faults["chat_latency_ms"], faults["seed"], faults["retry_after"]) == ([1, 2], 5, False)
    assert unreachable(server.base_url)
    server.stop()


def test_it_dies_with_its_parent():
    parent = subprocess.run([sys.executable, "-c", PARENT], capture_output=True, text=True, timeout=30)
    assert unreachable(parent.stdout.strip())


def test_a_failed_start_says_why(models):
    with pytest.raises(ConfigurationError, match="no switch 'speed'; valid: host, port"):
        OfflineServer.start(speed=3)
    with pytest.raises(ServiceError, match="error_share=2: give a share"):
        OfflineServer.start(error_share=2)
    taken = int(models.base_url.removesuffix("/v1").rpartition(":")[2])
    with pytest.raises(ServiceError, match="choose another --port"):
        OfflineServer.start(port=taken)


def test_another_process_gives_the_same_answers(models):
    chat = {
        "model": "llm-large",
        "messages": [{"role": "user", "content": "Context:\nA lynx weighs 21 kg.\n\nQuestion: How heavy is a lynx?"}],
    }
    texts = {"model": "embed-large", "input": ["A lynx weighs 21 kg.", "a", "?"]}
    with OfflineServer.start() as other:
        for path, body in (("/chat/completions", chat), ("/embeddings", texts)):
            one = httpx.post(models.base_url + path, json=body).content
            assert one == httpx.post(other.base_url + path, json=body).content
    assert b"21 kg" in httpx.post(models.base_url + "/chat/completions", json=chat).content


def test_the_server_imports_no_heavy_library():
    code = "import sys, dream.offline.__main__; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30).stdout.split()
    assert not {"ragas", "llama_index", "ray", "mlflow", "pandas", "openai", "langchain_core"} & set(loaded)
