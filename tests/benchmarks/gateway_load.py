"""So many model calls through one gateway, from some processes of a local Ray or from this process alone."""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.run_dream import MODELS

AT_ONCE = 128


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gateway_load", description=__doc__)
    parser.add_argument("--base-url", required=True, help="of the provider")
    parser.add_argument("--home", type=Path, required=True, help="DREAM_HOME")
    parser.add_argument("--senders", type=int, default=0, help="processes on Ray that send; 0 for this process alone")
    parser.add_argument("--calls", type=int, required=True, help="of each sender")
    options = parser.parse_args()

    from dream.engines import IN_PROCESS, RAY, EngineChoice, opened
    from dream.models import gateway_client
    from dream.settings import Settings

    settings = Settings.from_environment(
        {
            **MODELS,
            "DREAM_HOME": str(options.home),
            "DREAM_ENDPOINT_PROVIDER_BASE_URL": options.base_url,
            "DREAM_ENDPOINT_PROVIDER_API_KEY": "any",
        }
    )
    choice = EngineChoice(RAY if options.senders else IN_PROCESS, "the benchmark says so")
    with opened(choice, settings, ()) as engine, gateway_client.opened(settings):
        if options.senders:
            [each.result() for each in [engine.submit(send, n, 10) for n in range(options.senders)]]  # processes are up
            started = time.monotonic()
            sent = [engine.submit(send, 100 + n, options.calls) for n in range(options.senders)]
            [each.result() for each in sent]
        else:
            started = time.monotonic()
            send(100, options.calls)
        wall = time.monotonic() - started
    print(json.dumps({"wall": wall, "calls": options.calls * max(options.senders, 1)}))


def send(sender: int, calls: int) -> None:
    """Send distinct questions, `AT_ONCE` at a time."""
    from dream.models import gateway_client
    from dream.models.openai_wire import CHAT_PATH, ModelRequest
    from dream.runtime.event_loop import run_async

    gateway = gateway_client.current_gateway()
    permits = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        body: dict[str, Any] = {
            "model": "llm-small",
            "messages": [
                {"role": "user", "content": f"Sender {sender} asks for the {number}th time: " + "why? " * 400}
            ],
        }
        async with permits:
            response = await gateway.send(ModelRequest("provider", "POST", CHAT_PATH, json.dumps(body).encode()))
        if response.status != 200:
            raise SystemExit(f"{response.status}: {response.body[:200]!r}")

    async def all_of_them() -> None:
        await asyncio.gather(*map(one, range(calls)))

    run_async(all_of_them())


if __name__ == "__main__":
    main()
