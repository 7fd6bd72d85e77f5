"""Generates batches of questions as tasks of an engine, in rounds: later batches replace questions that earlier ones
could not generate."""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dream.documents.loading import merge_pages
from dream.documents.stored_documents import StoredDocuments
from dream.engines import Engine
from dream.errors import ServiceError
from dream.golden.allotment import (
    SINGLE_HOP,
    Batch,
    FileText,
    allot,
    allot_again,
    allotment_notes,
    by_hops,
    by_kind,
    by_short_name,
    in_other_kinds,
    kinds_text,
)
from dream.golden.generator import generate_questions
from dream.golden.sheet import bounded
from dream.models import gateway_client
from dream.progress import Reporter, Task
from dream.records import DocumentSet, Failure, FailureKind, GoldenQuestion, known_sum
from dream.services import renew_session
from dream.settings import Settings

if TYPE_CHECKING:
    from llama_index.core import Document

ATTEMPTS = 3
# Rounds of batches for missing questions: first the same kinds again, then the kinds of `in_other_kinds`, then
# single-hop questions.
ROUNDS_AGAIN = 3
WAIT_SECONDS = 1.0
_ENDS_ALL = (FailureKind.BUDGET, FailureKind.ENDPOINT, FailureKind.CONFIGURATION)
FILES_NAMED = 6
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratedBatch:
    """The questions that one task generated from its files, a line for each shortfall, and the failure that ended
    it."""

    files: tuple[str, ...]
    questions: tuple[GoldenQuestion, ...] = ()
    shortfalls: tuple[str, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True)
class Generation:
    """The requested questions, and the documents and models to generate them with."""

    name: str
    n_questions: int
    seed: int
    settings: Settings
    documents: DocumentSet
    reporter: Reporter = field(default_factory=Reporter)

    @property
    def models(self) -> tuple[str, str]:
        """Identifiers of the LLM and the embedding model."""
        return self.settings.generator_llm, self.settings.judge_embed_model


@dataclass
class _Progress:
    """The results of all rounds so far, in their order."""

    wanted: Mapping[str, int]
    done: list[tuple[Batch, GeneratedBatch]] = field(default_factory=list)

    def questions(self) -> list[GoldenQuestion]:
        """The distinct questions."""
        all_of_them = (question for _, made in self.done for question in made.questions)
        return list({question.id: question for question in all_of_them}.values())

    def made(self) -> dict[str, int]:
        """The number of distinct questions of each kind."""
        return by_kind({question.synthesizer: 1} for question in self.questions())

    def missing(self) -> dict[str, int]:
        """The number of missing questions of each kind."""
        made = self.made()
        lacks = {kind: max(0, n - made.get(kind, 0)) for kind, n in self.wanted.items()}
        return {kind: n for kind, n in lacks.items() if n}

    def used(self) -> dict[str, int]:
        """The pieces of each file that have been read."""
        return by_kind({share.file: share.pieces} for batch, _ in self.done for share in batch.shares)

    def failed(self) -> set[str]:
        """The files of the batches that failed as a whole."""
        return {file for _, made in self.done if made.failure for file in made.files}


def generate_all(
    generation: Generation, documents: StoredDocuments, files: Sequence[FileText], engine: Engine
) -> tuple[list[GeneratedBatch], list[str]]:
    """Generate all batches of a dataset; returns them with a line for each kind and file with too few questions, with
    reasons."""
    first = allot(files, generation.n_questions, generation.seed)
    progress = _Progress(by_kind(batch.kinds for batch in first))
    with generation.reporter.task("generating questions", generation.n_questions, "questions") as task:
        _run_round(generation, documents, first, engine, progress, task)
        for attempt in range(1, ROUNDS_AGAIN + 1):
            again = _batches_again(generation, files, progress, attempt)
            if not again:
                break
            _run_round(generation, documents, again, engine, progress, task)
    return [made for _, made in progress.done], [
        *allotment_notes(first),
        *shortfall_lines(progress.done, progress.wanted),
    ]


def _batches_again(generation: Generation, files: Sequence[FileText], progress: _Progress, attempt: int) -> list[Batch]:
    """Batches for missing questions; empty if none are missing, or if no question at all could be generated so far."""
    lacks = generation.n_questions - len(progress.questions())
    left = [text for text in files if text.file not in progress.failed()]
    if lacks <= 0 or not left or not progress.questions() or _is_over(progress):
        return []
    missing = _asked_again(progress, lacks, attempt)
    batches = allot_again(left, missing, progress.used(), generation.seed, attempt)
    n_tasks = f"{len(batches)} more task{'s' * (len(batches) > 1)}"
    generation.reporter.line(f"  {lacks} missing; {n_tasks} for {kinds_text(missing)}")
    return batches


def _asked_again(progress: _Progress, lacks: int, attempt: int) -> dict[str, int]:
    """The kinds to generate instead of missing ones: the same, then related ones, then single-hop ones."""
    missing = progress.missing()
    if attempt == 2:
        missing = in_other_kinds(missing, progress.made())
    if attempt == ROUNDS_AGAIN or sum(missing.values()) != lacks:
        missing = {SINGLE_HOP: lacks}
    return missing


def _is_over(progress: _Progress) -> bool:
    """True if a failure would end every later batch too."""
    return any(made.failure and made.failure.kind in _ENDS_ALL for _, made in progress.done)


def _run_round(
    generation: Generation,
    documents: StoredDocuments,
    batches: Sequence[Batch],
    engine: Engine,
    progress: _Progress,
    task: Task,
) -> None:
    """Run one task per batch. A failed one is retried, then reported; the questions of the others are kept."""

    def submit(batch: Batch) -> "Future[GeneratedBatch]":
        some = documents.only(batch.files)
        far = (
            engine.cluster is not None and not documents.is_shared
        )  # workers may have no access to the folder of the texts
        return engine.submit(_generate, list(some) if far else some, batch, generation.models)

    waiting = {submit(batch): (i, 1) for i, batch in enumerate(batches)}
    generated: dict[int, GeneratedBatch] = {}
    while waiting:
        done = _next_done(waiting, task)
        i, attempt = waiting.pop(done)
        batch, names = batches[i], ", ".join(batches[i].asked)
        made = _outcome(done, batch.files, generation.settings)
        if made.failure and attempt < ATTEMPTS and made.failure.kind not in _ENDS_ALL:
            generation.reporter.line(f"  attempt {attempt} of {ATTEMPTS} failed: {names}: {made.failure.reason}")
            waiting[submit(batch)] = (i, attempt + 1)
            continue
        if made.failure:
            made = replace(made, shortfalls=(f"{made.failure.reason} ({attempt} attempts)",))
        generated[i] = made
        generation.reporter.line(f"  {len(made.questions)} of {batch.questions} questions from {names}")
        task.advance(len(made.questions), usd=_usd_so_far())
    progress.done += [(batches[i], generated[i]) for i in sorted(generated)]


def shortfall_lines(done: Sequence[tuple[Batch, GeneratedBatch]], wanted: Mapping[str, int]) -> list[str]:
    """Lines about missing questions: one each for single-hop and multi-hop questions (or for both kinds of the latter
    if one replaced the other), and one per reason with the files that gave too few. Files are left out if others
    compensated for them, unless they failed.
    """
    kinds = _Progress(wanted, list(done)).made()
    counted = [(by_hops(kinds), by_hops(wanted)), (by_short_name(kinds), by_short_name(wanted))]
    too_few = [(made, of) for made, of in counted if any(made.get(name, 0) < n for name, n in of.items())]
    missing = bool(too_few)
    asked: dict[tuple[str, ...], _Asked] = {}
    for batch, generated in done:
        asked.setdefault(batch.asked, _Asked(batch.questions)).add(generated)
    short = {
        files: counts
        for files, counts in asked.items()
        if counts.n_made < counts.n_wanted and (missing or counts.failed)
    }
    by_reason: dict[str, list[tuple[tuple[str, ...], _Asked]]] = {}
    for files, counts in short.items():
        by_reason.setdefault("; ".join(dict.fromkeys(counts.reasons)) or "for an unknown reason", []).append(
            (files, counts)
        )
    lines = [_missing_line(*too_few[0])] if missing else []
    return bounded([*lines, *(_reason_line(reason, those) for reason, those in by_reason.items())])


@dataclass
class _Asked:
    """The numbers of questions that were initially requested from files, and that they gave in all rounds."""

    n_wanted: int
    n_made: int = 0
    failed: bool = False
    reasons: list[str] = field(default_factory=list)

    def add(self, generated: GeneratedBatch) -> None:
        self.n_made += len(generated.questions)
        self.failed = self.failed or generated.failure is not None
        self.reasons += generated.shortfalls


def _reason_line(reason: str, those: Sequence[tuple[tuple[str, ...], _Asked]]) -> str:
    names = list(dict.fromkeys(name for files, _ in those for name in files))
    more = f" and {len(names) - FILES_NAMED} more" if len(names) > FILES_NAMED else ""
    n_made, n_wanted = sum(counts.n_made for _, counts in those), sum(counts.n_wanted for _, counts in those)
    return f"{', '.join(names[:FILES_NAMED])}{more}: {n_made} of {n_wanted} questions: {reason}"


def _missing_line(made: Mapping[str, int], wanted: Mapping[str, int]) -> str:
    few = ", ".join(f"{made.get(name, 0)} of {n} {name}" for name, n in wanted.items() if made.get(name, 0) < n)
    more = {name: n - wanted.get(name, 0) for name, n in made.items() if n > wanted.get(name, 0)}
    in_place = "".join(f"; {n} {name} more in their place" for name, n in more.items())
    return f"{sum(made.values())} of {sum(wanted.values())} questions: {few}{in_place}"


def _next_done(tasks: "Collection[Future[GeneratedBatch]]", progress: Task) -> "Future[GeneratedBatch]":
    """Wait for a task to end, and refresh the progress meanwhile."""
    while not (ended := wait(tasks, WAIT_SECONDS, FIRST_COMPLETED).done):
        progress.advance(0)
    return next(iter(ended))


def _usd_so_far() -> float | None:
    """The USD paid through the open gateway; None if a price is unknown or the gateway does not answer."""
    with suppress(ServiceError):
        return known_sum(row.usd for row in gateway_client.current_gateway().usage())
    return None


def _outcome(task: "Future[GeneratedBatch]", files: tuple[str, ...], settings: Settings) -> GeneratedBatch:
    """The batch of an ended task, without secrets; a lost worker counts as a failure."""
    try:
        batch = task.result()
    except Exception as error:  # noqa: BLE001 - whatever ended the task is recorded
        batch = GeneratedBatch(files, failure=Failure.of(error))
    if batch.failure is None:
        return batch
    failure = batch.failure.redacted(settings.secrets())
    logger.warning("no questions from %s: %s\n%s", ", ".join(files), failure.reason, failure.traceback)
    return replace(batch, failure=failure)


def _generate(documents: "Sequence[Document]", batch: Batch, models: tuple[str, str]) -> GeneratedBatch:
    """The task of a worker: generate questions from documents."""
    renew_session()
    os.environ.setdefault("TQDM_DISABLE", "1")  # ragas' own bars, which would overwrite those of the reporter
    try:
        generated, shortfalls = generate_questions(merge_pages(documents), batch, *models)
    except Exception as error:  # noqa: BLE001 - others' exceptions may not survive the trip to the driver
        return GeneratedBatch(batch.files, failure=Failure.of(error))
    return GeneratedBatch(batch.files, tuple(generated), tuple(shortfalls))
