"""Documents become golden questions: ragas' TestsetGenerator in Ray tasks of at most 3 files each.

<name>.csv              one row a question, text exactly as generated
<name>.manifest.json    the documents, models and versions that it was made with, and what fell short
"""

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas

from dream import engines
from dream.defaults import GOLDEN_DATASET, GOLDEN_QUESTIONS, SEED
from dream.documents.loading import load_documents, merge_pages
from dream.engines import Engine
from dream.errors import ConfigurationError, DataError, ServiceError, bullets
from dream.golden.generator import generate_questions
from dream.models import gateway_client
from dream.models.pickers import check_identifiers, check_models
from dream.progress import Reporter, Show, Task, reporter_for
from dream.provenance import versions
from dream.records import DocumentSet, Failure, GoldenDataset, GoldenQuestion, digest, known_sum
from dream.services import renew_session
from dream.settings import Settings
from dream.storage import Storage, open_storage

COLUMNS = ("id", "question", "ground_truth", "reference_contexts", "source_file", "source_page", "synthesizer")
REQUIRED_COLUMNS = ("question", "ground_truth")
FILES_PER_TASK = 3
ATTEMPTS = 3
WAIT_SECONDS = 1.0
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratedBatch:
    """The questions that one task made of its files, a line for each shortfall, and the failure that ended it, if
    any."""

    files: tuple[str, ...]
    questions: tuple[GoldenQuestion, ...] = ()
    shortfalls: tuple[str, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True)
class Generation:
    """The questions that were asked for, and where they come from."""

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


def generate_golden_dataset(
    n_questions: int = GOLDEN_QUESTIONS,
    *,
    name: str = GOLDEN_DATASET,
    documents_uri: str | None = None,
    seed: int = SEED,
    engine: str | None = None,
    settings: Settings | None = None,
    show: Show = print,
) -> GoldenDataset:
    """Generate single-hop and multi-hop questions from all documents in storage, and save them.

    Args:
        n_questions: number of questions to ask for; fewer may come, and every shortfall is shown and kept with its
            reason.
        name: the dataset's name in `settings.golden_datasets_uri`; an existing one is replaced.
        documents_uri: the folder or bucket of the documents, by default `settings.documents_uri`.
        seed: of ragas' random choices, so that the same documents and answers give the same questions.
        engine: "in_process", "ray" or "auto" (`dream.engines.choose_engine`), by default that of the settings.
        show: shows progress (see `dream.progress`).

    Raises:
        DataError: when no usable document or no question at all is left, with the reasons.
        ConfigurationError, ServiceError: before any question is paid for.
    """
    settings = settings or Settings.from_environment()
    if n_questions < 1:
        raise ConfigurationError(f"n_questions={n_questions} must be at least 1")
    _check_name(name)
    if problems := check_identifiers([settings.generator_llm, settings.judge_embed_model], settings):
        raise ConfigurationError(bullets("the generator cannot be used:", problems))
    storage = open_storage(documents_uri or settings.documents_uri, settings)
    choice, reporter = engines.choose_engine(engine, settings), reporter_for(show)
    reporter.line(str(choice))
    loaded = load_documents(storage, show=reporter, settings=settings)
    documents = DocumentSet(storage.uri(""), loaded.digest)
    generation = Generation(name, n_questions, seed, settings, documents, reporter)
    for line in loaded.report:
        if line.status != "read":
            reporter.line(f"  {line}")
    files = sorted({document.metadata["file_name"] for document in loaded.documents})
    batches = [files[i : i + FILES_PER_TASK] for i in range(0, len(files), FILES_PER_TASK)]
    reporter.line(f"{name}: {n_questions} questions from {len(files)} files in {len(batches)} tasks")
    with engines.opened(choice, settings) as running_on, gateway_client.opened(settings):
        check_models([settings.generator_llm], [settings.judge_embed_model])
        generated = _run_tasks(generation, storage, batches, running_on)
    return _save(generation, generated)


def load_golden_dataset(golden_dataset: str | GoldenDataset, settings: Settings | None = None) -> GoldenDataset:
    """A golden dataset by its name in storage, or from the user's own CSV file.

    The CSV needs the columns `question` and `ground_truth`; the others of `COLUMNS` are optional. Several source files
    or pages are joined by "; ", or written as a JSON list where a name holds "; " itself.

    Raises:
        DataError: naming every mistake with its row number (the header is row 1).
    """
    if isinstance(golden_dataset, GoldenDataset):
        return golden_dataset
    settings = settings or Settings.from_environment()
    path = Path(golden_dataset)
    if path.suffix == ".csv" and path.is_file():
        storage, key = open_storage(str(path.resolve().parent), settings), path.name
    else:
        storage = open_storage(settings.golden_datasets_uri, settings)
        key = f"{golden_dataset.removesuffix('.csv')}.csv"
    if not storage.exists(key):
        raise DataError(
            f"no golden dataset {golden_dataset!r}: neither a CSV file nor {storage.uri(key)}. "
            "Make one with `dream golden`, or give the path of your own CSV"
        )
    return GoldenDataset(_questions(storage.read_csv(key), storage.uri(key)), storage.uri(key))


def save_golden_dataset(golden_dataset: GoldenDataset, name: str, settings: Settings | None = None) -> GoldenDataset:
    """Save questions under a name in storage, such as those of the user's own CSV that was loaded before."""
    _check_name(name)
    settings = settings or Settings.from_environment()
    storage = open_storage(settings.golden_datasets_uri, settings)
    storage.ensure()
    storage.write_csv(f"{name}.csv", golden_table(golden_dataset.questions))
    return GoldenDataset(golden_dataset.questions, storage.uri(f"{name}.csv"))


def golden_table(questions: Sequence[GoldenQuestion]) -> pandas.DataFrame:
    """The questions as a table with `COLUMNS`; reference contexts as a JSON list, so that they stay apart."""
    rows = [question.to_row() for question in questions]
    for row in rows:
        row["reference_contexts"] = json.dumps(row["reference_contexts"], ensure_ascii=False)
    return pandas.DataFrame(rows, columns=pandas.Index(COLUMNS))


def _check_name(name: str) -> None:
    if not name or "/" in name or name.startswith("."):
        raise ConfigurationError(f"name={name!r}: give a plain name without '/', e.g. 'golden'")


def _questions(table: pandas.DataFrame, uri: str) -> tuple[GoldenQuestion, ...]:
    """The questions of a CSV, all mistakes in it told at once."""
    rows = [] if (problems := _table_problems(table)) else list(map(_row, table.to_dict("records")))
    if problems := problems or list(_row_problems(rows)):
        raise DataError(_mistakes(uri, problems))
    return tuple(map(GoldenQuestion.from_row, rows))


def _table_problems(table: pandas.DataFrame) -> list[str]:
    if missing := [column for column in REQUIRED_COLUMNS if column not in table.columns]:
        columns = ", ".join(map(str, table.columns)) or "none"
        return [f"missing column(s) {', '.join(missing)}; it has: {columns}"]
    return ["it has no rows: give at least one question"] if table.empty else []


def _row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of a CSV with its reference contexts as a list, None where they cannot be read. An id follows from question
    and ground truth, whatever the CSV says."""
    return {**row, "id": "", "reference_contexts": _texts(row.get("reference_contexts") or "[]")}


def _mistakes(uri: str, problems: Sequence[str]) -> str:
    return bullets(f"{len(problems)} mistake(s) in {uri}:", problems)


def _row_problems(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    seen: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows, start=2):
        yield from (f"row {number}: {column} is empty" for column in REQUIRED_COLUMNS if not row[column].strip())
        if row["reference_contexts"] is None:
            yield f'row {number}: reference_contexts must be a JSON list of texts, e.g. ["one", "two"]'
        pair = (row["question"], row["ground_truth"])
        if first := seen.get(pair):
            yield f"row {number}: the same question and ground truth as row {first}"
        seen.setdefault(pair, number)


def _texts(text: str) -> list[str] | None:
    """The texts of a JSON list; None for anything else."""
    try:
        texts = json.loads(text)
    except ValueError:
        return None
    return texts if isinstance(texts, list) and all(isinstance(item, str) for item in texts) else None


def _run_tasks(
    generation: Generation, storage: Storage, batches: Sequence[Sequence[str]], engine: Engine
) -> list[GeneratedBatch]:
    """One task a batch; a failed one is tried again, then reported, and the others' questions are kept."""
    n, n_batches = generation.n_questions, len(batches)
    shares = [n // n_batches + (i < n % n_batches) for i in range(n_batches)]

    def submit(i: int) -> "Future[GeneratedBatch]":
        files = tuple(batches[i])
        arguments = (storage.in_memory(files), files, shares[i], generation.models, generation.seed + i)
        return engine.submit(_generate, *arguments)

    waiting = {submit(i): (i, 1) for i in range(n_batches) if shares[i]}
    generated: dict[int, GeneratedBatch] = {}
    with generation.reporter.task("generating questions", n, "questions") as progress:
        while waiting:
            done = _next_done(waiting, progress)
            i, attempt = waiting.pop(done)
            batch, names = _outcome(done, tuple(batches[i]), generation.settings), ", ".join(batches[i])
            if batch.failure and attempt < ATTEMPTS:
                generation.reporter.line(f"  attempt {attempt} of {ATTEMPTS} failed: {names}: {batch.failure.reason}")
                waiting[submit(i)] = (i, attempt + 1)
                continue
            if batch.failure:
                line = f"{names}: 0 of {shares[i]} questions: {batch.failure.reason} ({ATTEMPTS} attempts)"
                batch = replace(batch, shortfalls=(line,))
            generated[i] = batch
            generation.reporter.line(f"  {len(batch.questions)} of {shares[i]} questions from {names}")
            progress.advance(len(batch.questions), usd=_usd_so_far())
    return [generated[i] for i in sorted(generated)]


def _next_done(tasks: "Collection[Future[GeneratedBatch]]", progress: Task) -> "Future[GeneratedBatch]":
    """A task that has ended. While none has, the progress is shown again from time to time."""
    while not (ended := wait(tasks, WAIT_SECONDS, FIRST_COMPLETED).done):
        progress.advance(0)
    return next(iter(ended))


def _usd_so_far() -> float | None:
    """The USD paid through the open gateway; None where a price is unknown or the gateway does not answer."""
    with suppress(ServiceError):
        return known_sum(row.usd for row in gateway_client.current_gateway().usage())
    return None


def _outcome(task: "Future[GeneratedBatch]", files: tuple[str, ...], settings: Settings) -> GeneratedBatch:
    """The batch of a task that has ended, without secrets; a lost worker is a failure too."""
    try:
        batch = task.result()
    except Exception as error:  # noqa: BLE001 - whatever ended the task is recorded
        batch = GeneratedBatch(files, failure=Failure.of(error))
    if batch.failure is None:
        return batch
    failure = batch.failure.redacted(settings.secrets())
    logger.warning("no questions from %s: %s\n%s", ", ".join(files), failure.reason, failure.traceback)
    return replace(batch, failure=failure)


def _generate(
    storage: Storage, files: tuple[str, ...], n_questions: int, models: tuple[str, str], seed: int
) -> GeneratedBatch:
    """The task: read some files from storage and make questions of them."""
    renew_session()
    try:
        documents = merge_pages(load_documents(storage, keys=files).documents)
        questions, shortfalls = generate_questions(documents, n_questions, *models, seed=seed)
    except Exception as error:  # noqa: BLE001 - others' exceptions may not survive the trip to the driver
        return GeneratedBatch(files, failure=Failure.of(error))
    return GeneratedBatch(files, tuple(questions), tuple(shortfalls))


def _save(generation: Generation, batches: Sequence[GeneratedBatch]) -> GoldenDataset:
    name, settings = generation.name, generation.settings
    questions = [question for batch in batches for question in batch.questions]
    first: dict[str, GoldenQuestion] = {}
    for question in questions:
        first.setdefault(question.id, question)
    distinct = tuple(first.values())
    shortfalls = [line for batch in batches for line in batch.shortfalls]
    if len(distinct) < len(questions):
        shortfalls.append(f"{len(questions) - len(distinct)} exact duplicate(s) dropped")
    if not distinct:
        reasons = shortfalls or ["no reason was given"]
        raise DataError(bullets(f"no question could be made of {generation.documents.uri}:", reasons))
    if problems := list(_row_problems([question.to_row() for question in distinct])):
        raise DataError(_mistakes(f"what was generated for {name!r}", problems))
    for line in shortfalls:
        generation.reporter.line(f"  fell short: {line}")
    golden = save_golden_dataset(GoldenDataset(distinct), name, settings)
    failures = [
        {"files": list(batch.files), **batch.failure.to_json()} for batch in batches if batch.failure is not None
    ]
    manifest = {
        "made_by": "dream golden",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "offline": settings.generator_llm.startswith("offline/"),
        "documents": asdict(generation.documents),
        "generator_llm": settings.generator_llm,
        "embed_model": settings.judge_embed_model,
        "seed": generation.seed,
        "questions_wanted": generation.n_questions,
        "questions": len(golden.questions),
        "questions_digest": golden.digest,
        "shortfalls": shortfalls,
        "failures": failures,
        "versions": versions(),
    }
    storage = open_storage(settings.golden_datasets_uri, settings)
    storage.write_json(f"{name}.manifest.json", {**manifest, "digest": digest(manifest)})
    generation.reporter.line(f"{name}: {len(golden.questions)} questions in {golden.uri}")
    return golden
