"""The `dream` command: the same steps as the notebooks, for pipelines."""

import os
import sys
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from dream.cli.compare import compare
from dream.cli.data import golden, prepare
from dream.cli.demo import demo
from dream.cli.experiments import plan, run, stop, track
from dream.cli.gateway import gateway
from dream.cli.init import init
from dream.cli.promotion import check, export, promote, serve
from dream.cli.services import cache, doctor, offline
from dream.errors import DreamError

STOPPED = 130

app = typer.Typer(
    name="dream",
    help="Find out which RAG system to use: documents -> golden questions -> trials on Ray -> comparison.",
    epilog="A first run, with no key and no server: dream demo. With your own documents: dream init my-study, or dream "
    "prepare FOLDER; dream golden; dream run; dream compare. Settings come from environment variables or a .env file; "
    "`dream doctor` shows and checks them.",
    rich_markup_mode=None,  # rich's boxes take twice the time of the whole command
    pretty_exceptions_enable=False,  # a traceback that shows local variables shows keys
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
COMMANDS = (
    demo, init, prepare, golden, plan, run, stop, compare, export, promote, serve, check, track, cache, doctor,
    offline, gateway,
)  # fmt: skip
for _command in COMMANDS:
    app.command()(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 for success, 1 for failure, 2 for a wrong command line, 130 after Ctrl-C.
    """
    is_program = arguments is None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    is_command = bool(arguments) and arguments[0] in [command.__name__ for command in COMMANDS]
    command = f"dream {arguments[0]}" if is_command else "dream"
    try:
        code = app(arguments, prog_name="dream", standalone_mode=False) or 0
    except TyperException as error:
        print(f"{command}: {error.format_message()}\nSee '{command} --help'.", file=sys.stderr)
        return error.exit_code
    except DreamError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    if code == STOPPED:
        print(f"{command}: stopped; what was finished is in storage", file=sys.stderr)
        if is_program:
            _end_at_once(code)
    return code


def _end_at_once(code: int) -> None:
    """End the process without waiting for threads, whose work is useless after Ctrl-C."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
