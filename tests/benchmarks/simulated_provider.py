"""A provider of models that costs almost no CPU: fixed latencies, a rate limit, and counters.

    python -m tests.benchmarks.simulated_provider --latency-ms 200

An LLM call takes the latency, an embedding call a tenth of it, whatever its size and however many are under way.
The answers are those of `dream.offline`, with a word more so that no two prompts get the same answer. They are computed
once for each content and kept in a file, so that a second run finds them there. Prints one JSON line with `base_url`
when ready; stops when stdin ends.
"""

import argparse
import asyncio
import base64
import json
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from hashlib import blake2b
from math import ceil
from pathlib import Path
from typing import Any

from dream.offline.api import ApiError, chat_completion, list_models
from dream.offline.embeddings import EMBEDDING_MODELS, embed
from dream.offline.faults import Faults, Switches
from dream.offline.prompts import read_request
from dream.offline.schemas import read_task
from dream.offline.words import count_tokens

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}
BACKLOG = 4096
# In the prompt by which DREAM checks its models before an experiment: its answer is no first answer.
CHECKED = b"Since when are the numbers sent by radio?"


def _is_question(body: dict[str, Any]) -> bool:
    """True for a prompt with contexts and a question, false for a judge's."""
    return read_task(body) is None and read_request(body["messages"]).context is not None


@dataclass
class Answers:
    """What each content is answered with. `chat` maps a request's digest to its answer, `texts` a text's to its
    vector in JSON and its tokens."""

    path: Path | None = None
    chat: dict[str, str] = field(default_factory=dict)
    texts: dict[str, tuple[str, int]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None) -> "Answers":
        kept = json.loads(path.read_text()) if path and path.exists() else {"chat": {}, "texts": {}}
        return cls(path, kept["chat"], {key: (vector, tokens) for key, (vector, tokens) in kept["texts"].items()})

    def save(self) -> None:
        if self.path:
            beside = self.path.with_suffix(".writing")
            beside.write_text(json.dumps({"chat": self.chat, "texts": self.texts}))
            os.replace(beside, self.path)

    def completion(self, key: str, body: dict[str, Any]) -> str:
        if key not in self.chat:
            reply = chat_completion(body).body
            if read_task(body) is None:
                for choice in reply["choices"]:
                    choice["message"]["content"] = _own_words(choice["message"]["content"], key)
            self.chat[key] = json.dumps(reply, ensure_ascii=False)
        return self.chat[key]

    def embeddings(self, model: str, texts: list[str], keys: list[str], encoding: str) -> str:
        """The response to an embedding request; vectors as text are kept by text, so another batching hits too."""
        unknown = {key: text for key, text in zip(keys, texts, strict=True) if encoding + key not in self.texts}
        if unknown:
            for (key, text), vector in zip(unknown.items(), embed(model, list(unknown.values())), strict=True):
                self.texts[encoding + key] = (_written(vector, encoding), count_tokens(text))
        found = [self.texts[encoding + key] for key in keys]
        rows = ",".join(f'{{"object":"embedding","index":{i},"embedding":{row}}}' for i, (row, _) in enumerate(found))
        tokens = sum(count for _, count in found)
        usage = f'{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}'
        return f'{{"object":"list","data":[{rows}],"model":"{model}","usage":{usage}}}'


@dataclass
class Counters:
    """Counts of answered calls; refused ones (429) are counted apart, and are in none of the others.

    Distinct requests are told apart by their content: the order of keys and white space make no difference.
    """

    calls: int = 0
    chat: int = 0
    embedding_requests: int = 0
    texts: int = 0
    refused: int = 0
    errors: int = 0
    in_flight: int = 0
    in_flight_most: int = 0
    first_call_at: float | None = None
    last_answer_at: float | None = None
    first_question_answered_at: float | None = None
    distinct: dict[str, set[str]] = field(default_factory=lambda: {"chat": set(), "embedding": set(), "texts": set()})

    def arrived(self) -> None:
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        self.first_call_at = self.first_call_at or time.time()

    def as_dict(self) -> dict[str, Any]:
        counted = {name: value for name, value in vars(self).items() if name != "distinct"}
        kinds = {f"distinct_{kind}": len(keys) for kind, keys in self.distinct.items()}
        distinct = kinds["distinct_chat"] + kinds["distinct_embedding"]
        return {**counted, **kinds, "distinct": distinct, "cpu_seconds": time.process_time()}


class Provider:
    """Answers requests by path and body; knows nothing of sockets."""

    def __init__(self, latency_seconds: float, requests_per_minute: int, answers: Answers) -> None:
        self.latency_seconds = latency_seconds
        # a second's worth at once, as a provider that meters by the second allows
        burst = max(requests_per_minute // 60, 1)
        self.requests_per_minute = requests_per_minute
        self.limit = Faults(Switches(requests_per_minute=requests_per_minute, burst=burst))
        self.answers = answers
        self.counters = Counters()
        self._canonical: dict[bytes, str] = {}

    def latency(self, path: str) -> float:
        return self.latency_seconds / 10 if path == EMBEDDINGS else self.latency_seconds

    def answer(self, path: str, raw: bytes) -> tuple[int, dict[str, str], str, bool]:
        """Status, headers, body of a model call, and whether it answers a question with its context."""
        wait = self.limit.seconds_to_wait()
        headers = {"x-ratelimit-limit-requests": str(self.requests_per_minute)} if self.requests_per_minute else {}
        if wait:
            self.counters.refused += 1
            headers |= {"retry-after": str(ceil(wait)), "retry-after-ms": str(ceil(wait * 1000))}
            refused = ApiError(429, "Rate limit reached.", "rate_limit_exceeded")
            return 429, headers, json.dumps(refused.as_dict()), False
        try:
            body = json.loads(raw)
            text, answers_question = self._chat(raw, body) if path == CHAT else (self._embeddings(raw, body), False)
        except ApiError as error:
            self.counters.errors += 1
            return error.status, headers, json.dumps(error.as_dict()), False
        self.counters.calls += 1
        return 200, headers, text, answers_question

    def _chat(self, raw: bytes, body: dict[str, Any]) -> tuple[str, bool]:
        key = self._key(raw, body)
        text = self.answers.completion(key, body)
        self.counters.chat += 1
        self.counters.distinct["chat"].add(key)
        first = self.counters.first_question_answered_at is None
        return text, first and CHECKED not in raw and _is_question(body)

    def _embeddings(self, raw: bytes, body: dict[str, Any]) -> str:
        model, inputs = body.get("model"), body.get("input")
        texts = [inputs] if isinstance(inputs, str) else inputs
        if model not in EMBEDDING_MODELS or not texts or not all(isinstance(text, str) and text for text in texts):
            raise ApiError(400, f"give texts, and a model of: {', '.join(EMBEDDING_MODELS)}", "invalid_value")
        keys = [_digest(f"{model}\0{text}".encode()) for text in texts]
        text = self.answers.embeddings(model, texts, keys, body.get("encoding_format") or "float")
        self.counters.embedding_requests += 1
        self.counters.texts += len(texts)
        self.counters.distinct["embedding"].add(self._key(raw, body))
        self.counters.distinct["texts"].update(keys)
        return text

    def _key(self, raw: bytes, body: dict[str, Any]) -> str:
        seen = blake2b(raw, digest_size=16).digest()
        if seen not in self._canonical:
            self._canonical[seen] = _digest(json.dumps(body, sort_keys=True).encode())
        return self._canonical[seen]


class Connection(asyncio.Protocol):
    """One client's connection, kept open between requests; a request is a head and as many bytes as it says."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).decode("latin-1")
            length = _content_length(head)
            if len(self.buffer) < end + 4 + length:
                return
            raw = bytes(self.buffer[end + 4 : end + 4 + length])
            del self.buffer[: end + 4 + length]
            self._serve(*head.split(" ", 2)[:2], raw)

    def _serve(self, method: str, path: str, raw: bytes) -> None:
        if method == "POST" and path in (CHAT, EMBEDDINGS):
            self._serve_model(path, raw)
        elif (method, path) == ("GET", "/counters"):
            self._write(200, {}, json.dumps(self.provider.counters.as_dict()))
        elif (method, path) == ("POST", "/counters/reset"):
            self.provider.counters = Counters()
            self._write(200, {}, "{}")
        elif (method, path) == ("GET", "/v1/models"):
            self._write(200, {}, json.dumps(list_models()))
        else:
            self._write(404, {}, json.dumps(ApiError(404, f"{method} {path} is not served", "unknown_url").as_dict()))

    def _serve_model(self, path: str, raw: bytes) -> None:
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        counters = self.provider.counters
        counters.arrived()
        status, headers, body, answers_question = self.provider.answer(path, raw)

        def reply() -> None:
            counters.in_flight -= 1
            counters.last_answer_at = time.time()
            if answers_question and counters.first_question_answered_at is None:
                counters.first_question_answered_at = time.time()
            self._write(status, headers, body)

        latency = self.provider.latency(path) if status == 200 else 0.0
        if latency:
            loop.call_at(arrived + latency, reply)
        else:
            reply()

    def _write(self, status: int, headers: dict[str, str], body: str) -> None:
        content = body.encode()
        lines = [f"HTTP/1.1 {status} {REASONS[status]}", "content-type: application/json"]
        lines += [f"content-length: {len(content)}", *(f"{name}: {value}" for name, value in headers.items())]
        if not self.transport.is_closing():
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + content)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.simulated_provider", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port (default)")
    parser.add_argument("--latency-ms", type=float, default=200.0, help="of an LLM call (default 200)")
    parser.add_argument("--requests-per-minute", type=int, default=0, help="0 is no limit (default)")
    parser.add_argument("--answers", type=Path, help="a file that keeps answers from one run to the next")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    answers = Answers.load(options.answers)
    asyncio.run(_serve(Provider(options.latency_ms / 1000, options.requests_per_minute, answers), options.port))
    answers.save()


async def _serve(provider: Provider, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(provider), "127.0.0.1", port, backlog=BACKLOG)
    host, port = server.sockets[0].getsockname()[:2]
    print(json.dumps({"base_url": f"http://{host}:{port}/v1"}), flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


def _content_length(head: str) -> int:
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _own_words(answer: str, key: str) -> str:
    """The answer with a word of its own for each request: LLMs do not give two prompts the same answer, word for word,
    as the offline models do, and a cache would look better than it is."""
    word = "".join(chr(ord("a") + int(digit, 16)) for digit in key[:6])
    return f"{answer.removesuffix('.')} ({word})."


def _written(vector: Any, encoding: str) -> str:
    """A vector in JSON."""
    if encoding == "base64":
        return json.dumps(base64.b64encode(vector.astype("<f4").tobytes()).decode())
    return json.dumps([round(float(value), 7) for value in vector])


if __name__ == "__main__":
    main()
