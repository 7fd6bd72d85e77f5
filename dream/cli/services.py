"""`dream cache`, `dream doctor` and `dream offline`: the services that experiments rely on."""

from typing import Annotated

import typer

from dream import defaults
from dream.cli.options import OFFLINE_BANNER
from dream.settings import Settings


def cache(
    show: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[show KEY]", help="show the entry with this key of the call log; the first characters are enough"
        ),
    ] = None,
    empty: Annotated[
        bool,
        typer.Option("--empty", help="delete entries; answers that are needed later are requested and billed again"),
    ] = False,
    older_than_days: Annotated[float, typer.Option(metavar="DAYS", help="delete only older entries")] = 0,
    model: Annotated[
        str, typer.Option(metavar="TEXT", help="only models, or texts, whose name in the list contains this")
    ] = "",
) -> int:
    """Show or empty the cache of model answers and texts.

    Indexes are not listed. `dream cache --empty --model "other readers"` deletes texts that other versions of DREAM, or
    other reading options, extracted.
    """
    from dream.cli.cache_entry import key_to_show, print_entry
    from dream.documents import reading_options, text_cache
    from dream.models import cache_contents
    from dream.storage import open_storage

    settings = Settings.from_environment()
    storage, options = open_storage(settings.cache_uri, settings), reading_options(settings)
    if show:
        print_entry(storage, key_to_show(show))
        return 0
    if empty:
        freed = cache_contents.empty(storage, older_than_days=older_than_days, model=model)
        freed += text_cache.empty(storage, options, older_than_days=older_than_days, name=model)
        print(f"{storage.uri()}: {freed / 1e6:,.1f} MB freed")
        return 0
    models = [(row.model, row) for row in cache_contents.contents(storage)]
    texts = [(row.name, row) for row in text_cache.contents(storage, options)]
    contents = [(name, row) for name, row in [*models, *texts] if model in name]
    print(f"{storage.uri()}: {sum(row.bytes for _, row in contents) / 1e6:,.1f} MB")
    for name, row in contents:
        days = f"{_day(row.oldest)} to {_day(row.newest)}"
        print(f"  {name:<40} {row.entries:>7,} entries {row.bytes / 1e6:>9,.1f} MB  {days}")
    return 0


def _day(timestamp: float) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d}"


def doctor() -> int:
    """Check Python, storage, MLflow, Ray and every model.

    Each problem is shown with its remedy; the exit code is 1 if there is a problem.
    """
    from dream.cli.doctor import examine

    healthy = True
    for finding in examine(Settings.from_environment()):
        healthy &= finding.problem is None
        print(finding, flush=True)
    return 0 if healthy else 1


def offline(
    port: Annotated[int, typer.Option(metavar="PORT", help="0 for a free one")] = defaults.OFFLINE_PORT,
) -> int:
    """Serve the offline models over HTTP until Ctrl-C.

    DREAM starts its own server when it needs one; this command is for other programs.
    """
    from dream.offline.__main__ import main as serve

    print(OFFLINE_BANNER)
    return serve(["--port", str(port)]) or 0
