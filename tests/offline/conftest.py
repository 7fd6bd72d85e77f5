"""A real offline server for the tests, and the official clients on it."""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import HTTP

os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")


def _shipped_tokenizers() -> str:
    import llama_index.core

    return str(Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache")


os.environ.setdefault("TIKTOKEN_CACHE_DIR", _shipped_tokenizers())

from openai import AsyncOpenAI, OpenAI  # noqa: E402

from dream.offline.process import OfflineServer  # noqa: E402


class Models:
    """One offline server with everything that a test asks of it."""

    def __init__(self, server: OfflineServer):
        self.server = server
        self.base_url = server.base_url
        self.root = server.base_url.removesuffix("/v1")
        self.client = OpenAI(api_key="any", base_url=self.base_url, max_retries=0, timeout=20)

    def get(self, path: str) -> Any:
        return HTTP.get(self.root + path).json()

    def post(self, path: str, **body: Any) -> httpx.Response:
        return HTTP.post(self.root + path, json=body, timeout=20)

    def ask(self, model: str, prompt: str, **options: Any) -> Any:
        return self.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": prompt}], **options
        )

    def answer(self, model: str, question: str, context: str) -> str:
        """Ask as LlamaIndex's question-answering prompt does."""
        from llama_index.core.prompts.default_prompts import DEFAULT_TEXT_QA_PROMPT

        prompt = DEFAULT_TEXT_QA_PROMPT.format(context_str=context, query_str=question)
        return self.ask(model, prompt).choices[0].message.content

    def async_client(self, **options: Any) -> AsyncOpenAI:
        """A client that keeps no connections, since ragas opens one event loop after another."""
        limits = httpx.Limits(max_keepalive_connections=0)
        return AsyncOpenAI(
            api_key="any", base_url=self.base_url, http_client=httpx.AsyncClient(limits=limits), **options
        )


@pytest.fixture(scope="session")
def models() -> Iterator[Models]:
    with OfflineServer.start() as server:
        yield Models(server)


@pytest.fixture
def faulty(models: Models) -> Iterator[Any]:
    """Set switches with `faulty(error_share=1)`; all are back at their defaults afterwards."""
    defaults = models.get("/faults")

    def switch(**switches: Any) -> None:
        response = models.post("/faults", **switches)
        assert response.status_code == 200, response.text

    yield switch
    switch(**defaults)


@pytest.fixture
def run() -> Any:
    """Run a coroutine to its end."""

    def _run(coroutine: Coroutine) -> Any:
        return asyncio.run(coroutine)

    return _run
