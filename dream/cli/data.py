"""`dream prepare` and `dream golden`: documents and questions."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from dream import defaults
from dream.cli.options import EngineName, show_banner
from dream.settings import Settings

if TYPE_CHECKING:
    from dream.documents.parsing import Submit


def prepare(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="folders, files or http(s) URLs")],
    engine: EngineName = None,
) -> int:
    """Put documents into storage and report which of them can be read.

    Large sets of files are read in parallel, by the Ray cluster at RAY_ADDRESS or by one process per CPU of this
    machine.
    """
    from dream.documents import load_documents, prepare_documents
    from dream.storage import open_storage

    settings = Settings.from_environment()
    storage = open_storage(settings.documents_uri, settings)
    uploads = prepare_documents(sources, storage, show=print)
    for upload in uploads:
        print(upload)
    with _on_cluster(engine, settings) as submit:
        loaded = load_documents(storage, show=print, settings=settings, submit=submit)
    print(f"\nReadable documents in {storage.uri('')}:")
    print(loaded)
    return 1 if any(upload.status == "failed" for upload in uploads) else 0


@contextmanager
def _on_cluster(engine: str | None, settings: Settings) -> "Iterator[Submit | None]":
    """A function that submits tasks to the cluster, and connects to it at the first task; None without a cluster.

    A local Ray is started only on request, as its processes read no faster than others.
    """
    from dream import engines

    choice = engines.choose_engine(engine, settings)
    if choice.engine != engines.RAY or not (engine or settings.ray_address):
        yield None
        return
    with ExitStack() as stack:

        @cache
        def connected() -> engines.Engine:
            print(choice)
            return stack.enter_context(engines.opened(choice, settings))

        yield lambda task, *arguments: connected().submit(task, *arguments)


def golden(
    questions: Annotated[
        int, typer.Option(metavar="N", help="number of questions to generate")
    ] = defaults.GOLDEN_QUESTIONS,
    name: Annotated[str, typer.Option(metavar="NAME", help="the dataset's name in storage")] = defaults.GOLDEN_DATASET,
    seed: Annotated[int, typer.Option(metavar="N", help="seed of the generator's random choices")] = defaults.SEED,
    csv: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="check and save your own: CSV, .xlsx, JSON, JSON Lines, Parquet or a folder of them",
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="only count the model calls, tokens and USD of generating; nothing is sent")
    ] = False,
    engine: EngineName = None,
) -> int:
    """Generate golden questions, or check and save your own.

    The generator LLM of the settings writes them from the documents in storage.
    """
    from dream.golden import (
        generate_golden_dataset,
        load_golden_dataset,
        plan_golden_dataset,
        save_golden_dataset,
    )

    settings = Settings.from_environment()
    if csv:
        dataset = save_golden_dataset(load_golden_dataset(csv, settings), name, settings)
        print(f"{name}: {len(dataset.questions)} questions in {dataset.uri}")
        return 0
    show_banner(settings)
    if plan:
        print(plan_golden_dataset(questions, seed=seed, settings=settings, show=print))
        return 0
    generate_golden_dataset(questions, name=name, seed=seed, engine=engine, settings=settings)
    return 0
