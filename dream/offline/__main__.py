"""Start the offline models: `python -m dream.offline --port 0`. Prints one JSON line with `base_url` when ready."""

import argparse
import json
import resource
import socket
import sys
import threading
from dataclasses import fields
from typing import Any

import uvicorn

from dream.offline.faults import Switches, changed
from dream.offline.server import OfflineModels

_BACKLOG = 4096
_KEEP_ALIVE_S = 120  # longer than clients keep idle connections, so that none is closed during a request


class _Server(uvicorn.Server):
    """A server that prints its base URL as JSON when it accepts connections."""

    def __init__(self, config: uvicorn.Config, base_url: str):
        super().__init__(config)
        self.base_url = base_url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(json.dumps({"base_url": self.base_url}), flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Serve until a signal, or, with --exit-with-stdin, until the end of stdin."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    given = {field.name: options[field.name] for field in fields(Switches) if options[field.name] is not None}
    try:
        switches = changed(Switches(), given)
    except ValueError as error:
        parser.error(str(error))
    _allow_many_connections()
    listening = _bind(parser, options["host"], options["port"])
    application = OfflineModels(switches, options["api_key"]).application()
    config = uvicorn.Config(
        application,
        access_log=False,
        log_level="critical",
        lifespan="off",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=_KEEP_ALIVE_S,
        backlog=_BACKLOG,
    )
    server = _Server(config, _base_url(*listening.getsockname()[:2]))
    if options["exit_with_stdin"]:
        threading.Thread(target=_stop_at_end_of_stdin, args=(server,), daemon=True).start()
    server.run(sockets=[listening])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dream.offline", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 for a free port (default)")
    parser.add_argument("--api-key", help="require this API key (default: accept any key)")
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="stop at the end of stdin, that is, with the parent process"
    )
    for field in fields(Switches):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=_value, metavar="VALUE", help=f"default {json.dumps(field.default)}")
    return parser


def _value(text: str) -> Any:
    """The value of a switch in JSON: 200, 0.1, true, [100,300]."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: write e.g. 200, 0.1, true or [100,300]") from error


def _allow_many_connections() -> None:
    """Raise the limit of open files to its hard limit: each waiting request holds a socket."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _bind(parser: argparse.ArgumentParser, host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        parser.error(f"cannot listen on {host}:{port}: {error}; choose another --port, or 0 for a free one")


def _base_url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
    return f"http://{reachable}:{port}/v1"


def _stop_at_end_of_stdin(server: uvicorn.Server) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    server.should_exit = True


if __name__ == "__main__":
    main()
