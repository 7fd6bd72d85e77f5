"""The offline models, and a relay before them that sees and scripts what goes over the wire."""

import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from servers import HTTP, free_port as free_port

from dream.models.gateway import GatewayOptions
from dream.models.gateway_client import GatewayClient
from dream.offline.faults import Switches
from dream.offline.process import OfflineServer
from dream.settings import Settings

if TYPE_CHECKING:
    from llama_index.core import Document

KEY = "the-right-key-7e3f"


@dataclass
class ModelServer:
    """DREAM's offline models behind a key, with their counters and faults."""

    base_url: str
    key: str
    has_faults: bool = False

    @property
    def root(self) -> str:
        return self.base_url.removesuffix("/v1")

    def counters(self) -> dict[str, Any]:
        return HTTP.get(f"{self.root}/counters").json()

    def chat_calls(self) -> int:
        return self.counters()["by_path"].get("/v1/chat/completions", 0)

    def reset(self) -> None:
        HTTP.post(f"{self.root}/counters/reset")

    def faults(self, **switches: Any) -> None:
        self.has_faults = True
        response = HTTP.post(f"{self.root}/faults", json=switches)
        assert response.status_code == 200, response.text

    def without_faults(self) -> "ModelServer":
        """The server as it began: no faults, whatever a test has left."""
        if self.has_faults:
            self.faults(**asdict(Switches()))
            self.has_faults = False
        self.reset()
        return self

    def vectors(self, *texts: str, model: str = "embed-large") -> list[Any]:
        """The embeddings of texts, asked for without any of DREAM's code."""
        import numpy

        headers = {"authorization": f"Bearer {self.key}"}
        body = {"model": model, "input": list(texts)}
        answer = HTTP.post(f"{self.base_url}/embeddings", json=body, headers=headers).json()
        return [numpy.array(row["embedding"]) for row in answer["data"]]


@contextmanager
def offline_models(key: str) -> Iterator[ModelServer]:
    with OfflineServer.start(api_key=key) as process:
        yield ModelServer(process.base_url, key)


@dataclass(frozen=True)
class Seen:
    """A request that a relay has received."""

    path: str
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.text)

    @property
    def prompt(self) -> str:
        """All messages of a chat request."""
        return "\n".join(str(message["content"]) for message in self.body["messages"])


@dataclass(frozen=True)
class Reply:
    """What a relay answers by itself, JSON unless `raw` is set; a cut one promises more than it sends."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    raw: bytes | None = None


def chat_reply(content: Any, finish: str = "stop") -> Reply:
    """A chat completion that says `content`, JSON unless it is a text."""
    text = content if isinstance(content, str) else json.dumps(content)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    made = {"id": "1", "object": "chat.completion", "created": 0, "model": "scripted"}
    return Reply(200, {**made, "choices": [choice], "usage": usage})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # with the default of 5, a hundred clients at once wait for retransmissions

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has given up waiting."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Relay:
    """An HTTP server before the offline models that keeps every request and can answer in their place.

    `script` is asked first, for each request; where it gives None, the request goes on to the models.
    """

    def __init__(self, models: ModelServer) -> None:
        self.models = models
        self.requests: list[Seen] = []
        self.script: Callable[[Seen], Reply | None] = lambda seen: None
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def reset(self) -> None:
        self.requests, self.script = [], lambda seen: None

    def first(self, *replies: Reply) -> None:
        """Give these answers to the next requests, one each."""
        queued = list(replies)

        def script(seen: Seen) -> Reply | None:
            with self._lock:
                return queued.pop(0) if queued else None

        self.script = script

    def hold(self, n: int) -> None:
        """Let chat requests wait until `n` of them do, then pass on all; an error where no more come in a minute."""
        arrived, all_there = itertools.count(1), threading.Event()

        def script(seen: Seen) -> Reply | None:
            if not seen.path.endswith("/chat/completions"):
                return None
            if next(arrived) >= n:
                all_there.set()
            if all_there.wait(60):
                return None
            return Reply(400, {"error": {"message": f"fewer than {n} requests were sent at the same time"}})

        self.script = script

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                seen = Seen(self.path, {name.lower(): value for name, value in self.headers.items()}, raw.decode())
                relay.requests.append(seen)
                self._answer(relay.script(seen) or self._passed_on(seen, raw))

            do_GET = do_POST

            def _passed_on(self, seen: Seen, raw: bytes) -> Reply:
                headers = {"authorization": seen.headers.get("authorization", "")}
                answer = HTTP.request(self.command, relay.models.root + seen.path, content=raw, headers=headers)
                return Reply(answer.status_code, answer.json())

            def _answer(self, reply: Reply) -> None:
                content = json.dumps(reply.body).encode() if reply.raw is None else reply.raw
                self.send_response(reply.status)
                headers = {"content-type": "application/json", "content-length": str(len(content) + reply.cut)}
                for name, value in {**headers, **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = reply.cut

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def forget_answers(gateway: GatewayClient) -> None:
    """Empty the gateway's cache and meter, so that everything is asked anew."""
    gateway.configure(GatewayOptions((), first_backoff_seconds=0.0002, patience_seconds=20))


def endpoint_settings(models: ModelServer, relay: Relay, **more: str) -> Settings:
    return Settings.from_environment(
        {
            "OPENAI_BASE_URL": models.base_url,
            "OPENAI_API_KEY": models.key,
            "DREAM_ENDPOINT_RELAY_BASE_URL": relay.base_url,
            "DREAM_ENDPOINT_RELAY_API_KEY": models.key,
            **more,
        }
    )


def pages(file_name: str, *texts: str) -> "list[Document]":
    """The pages of one made-up file, as `load_documents` gives them."""
    from llama_index.core import Document

    file_digest = sha256("".join(texts).encode() + file_name.encode()).hexdigest()
    return [
        Document(text=text, metadata={"file_name": file_name, "page_label": str(number), "file_digest": file_digest})
        for number, text in enumerate(texts, start=1)
    ]
