"""Golden datasets: generated from documents, read from a user's files, saved and loaded.

<name>.csv              one row per question, text exactly as generated <name>.manifest.json    the documents, models
and versions used, any shortfalls, and the locations of the reference contexts in the documents
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pandas

from dream import engines
from dream.defaults import GOLDEN_DATASET, GOLDEN_QUESTIONS, SEED
from dream.documents.loading import load_documents
from dream.errors import ConfigurationError, DataError, StorageError, bullets
from dream.golden.beir import QUERIES, is_beir, read_beir
from dream.golden.generator import generator_forms
from dream.golden.own_questions import EXTENSIONS, OwnQuestions, is_question_file, questions_of, read_questions
from dream.golden.part_files import part_files, read_parts
from dream.golden.planning import GenerationPlan, plan_generation, plan_text
from dream.golden.tasks import GeneratedBatch, Generation, generate_all
from dream.golden.texts import file_texts
from dream.models import gateway_client
from dream.models.model_check import check_models
from dream.models.pickers import check_identifiers
from dream.progress import Show, reporter_for
from dream.records import DocumentSet, GoldenDataset, GoldenQuestion, digest
from dream.runtime.provenance import versions
from dream.settings import Settings
from dream.storage import Storage, check_key, open_storage

COLUMNS = ("id", "question", "ground_truth", "reference_contexts", "source_file", "source_page", "synthesizer")
EVIDENCE_COLUMN = "evidence_spans"


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
        n_questions: the number of questions to generate; there may be fewer, and every shortfall is shown and stored
            with its reason.
        name: the dataset's name in `settings.golden_datasets_uri`; an existing one is replaced.
        documents_uri: the folder or bucket of the documents, by default `settings.documents_uri`.
        seed: the seed of ragas' random choices: the same documents and LLM answers give the same questions.
        engine: "in_process", "ray" or "auto" (`dream.engines.choose_engine`), by default that of the settings.
        show: shows progress (see `dream.progress`).

    Raises:
        DataError: if there is no usable document, or no question could be generated, with the reasons.
        ConfigurationError, ServiceError: before any model call is billed.
    """
    settings = settings or Settings.from_environment()
    _check_name(name)
    _check(n_questions, settings)
    storage = open_storage(documents_uri or settings.documents_uri, settings)
    choice, reporter = engines.choose_engine(engine, settings), reporter_for(show)
    reporter.line(str(choice))
    loaded = load_documents(storage, show=reporter, settings=settings)
    documents = DocumentSet(storage.uri(""), loaded.digest)
    generation = Generation(name, n_questions, seed, settings, documents, reporter)
    for line in loaded.report:
        if line.status != "read":
            reporter.line(f"  {line}")
    files, too_short = file_texts(loaded.documents)
    if not files:
        raise DataError(bullets(f"no question could be generated from {documents.uri}:", too_short))
    reporter.line(f"{name}: {plan_text(files, n_questions, seed)}")
    with engines.opened(choice, settings) as running_on, gateway_client.opened(settings):
        for note in check_models((), [settings.judge_embed_model], {settings.generator_llm: generator_forms}):
            reporter.line(f"  {note}")
        generated, shortfalls = generate_all(generation, loaded.documents, files, running_on)
    return _save(generation, generated, [*too_short, *shortfalls])


def plan_golden_dataset(
    n_questions: int = GOLDEN_QUESTIONS,
    *,
    documents_uri: str | None = None,
    seed: int = SEED,
    settings: Settings | None = None,
    show: Show = None,
) -> GenerationPlan:
    """Count the model calls of `generate_golden_dataset` with the same arguments; no request is sent.

    Raises:
        ConfigurationError, DataError: for everything that `generate_golden_dataset` would refuse too.
    """
    settings = settings or Settings.from_environment()
    _check(n_questions, settings)
    storage = open_storage(documents_uri or settings.documents_uri, settings)
    files, too_short = file_texts(load_documents(storage, show=show, settings=settings).documents)
    if not files:
        raise DataError(bullets(f"no question could be generated from {storage.uri('')}:", too_short))
    with gateway_client.opened(settings):
        return plan_generation(files, n_questions, seed, settings, too_short)


def has_golden_dataset(golden_dataset: str, settings: Settings) -> bool:
    """True if a dataset or a file of this name exists, even if it cannot be read."""
    try:
        _place(golden_dataset, settings)
    except DataError:
        return False
    return True


def _check(n_questions: int, settings: Settings) -> None:
    if n_questions < 1:
        raise ConfigurationError(f"n_questions={n_questions} must be at least 1")
    if problems := check_identifiers([settings.generator_llm, settings.judge_embed_model], settings):
        raise ConfigurationError(bullets("the generator cannot be used:", problems))


def load_golden_dataset(
    golden_dataset: str | GoldenDataset, settings: Settings | None = None, *, show: Show = print
) -> GoldenDataset:
    """A golden dataset by its name in storage, or from a user's file.

    The file can be CSV (any separator and encoding that spreadsheets write), .xlsx, JSON, JSON Lines or Parquet, or a
    folder in BEIR's form or of part files, as Spark, Ray Data and Dask write them, here or in S3. It needs a question
    and a ground truth in each row; the columns may be called as in `COLUMNS`, or as in ragas, LlamaIndex or SQuAD
    (`dream.golden.columns.NAMES`). Several source files or pages are joined by "; ", or written as a JSON list if a
    name contains "; ".

    Args:
        show: receives a line for each guess and each ignored part.

    Raises:
        DataError: naming every mistake with its row number in a spreadsheet (the header is row 1).
    """
    if isinstance(golden_dataset, GoldenDataset):
        return golden_dataset
    settings = settings or Settings.from_environment()
    storage, key = _place(golden_dataset, settings)
    uri = storage.uri(key)
    own = read_questions(storage.read_bytes(key), uri) if key else _of_folder(storage, uri)
    reporter = reporter_for(show)
    for note in own.notes:
        reporter.line(f"{uri}: {note}")
    if key and "://" not in golden_dataset and _local_folder(Path(golden_dataset), settings):
        reporter.line(f"reading {uri}, not the folder: write .{os.sep}{golden_dataset} for that")
    return GoldenDataset(own.questions, uri)


def _of_folder(storage: Storage, uri: str) -> OwnQuestions:
    return questions_of(read_beir(storage), uri) if is_beir(storage) else read_parts(storage)


def _place(golden_dataset: str, settings: Settings) -> tuple[Storage, str]:
    """The storage and key of a dataset given as a local path, a URI, or a name in storage; the key is empty for a
    folder."""
    path = Path(golden_dataset).expanduser()
    if "://" in golden_dataset:
        folder, _, name = golden_dataset.rpartition("/")
        storage, keys, folders = open_storage(folder, settings), (name,), [golden_dataset]
    elif is_question_file(golden_dataset) and path.is_file():
        storage, keys, folders = open_storage(str(path.resolve().parent), settings), (path.name,), []
    elif (folder := _local_folder(path, settings)) and (is_beir(folder) or os.sep in golden_dataset):
        return folder, ""
    else:
        storage = open_storage(settings.golden_datasets_uri, settings)
        stored = f"{golden_dataset.removesuffix('.csv')}.csv"
        keys = (golden_dataset, stored) if is_question_file(golden_dataset) else (stored,)
        folders = [folder.uri()] if folder else _stored_folder(storage, golden_dataset)
    for key in keys:
        if _is_there(storage, key):
            return storage, key
    for uri in folders:
        if _holds_questions(folder := open_storage(uri, settings)):
            return folder, ""
    raise DataError(
        f"no golden dataset {golden_dataset!r}: neither a file with questions ({', '.join(EXTENSIONS)}) or a folder of "
        f"such part files, nor {storage.uri(keys[-1])}. Generate one with `dream golden`, or give the path of your own "
        f"file"
        f"{_nearby(path)}"
    )


def _local_folder(path: Path, settings: Settings) -> Storage | None:
    """A folder of this machine with questions; None if there is none."""
    folder = open_storage(str(path.resolve()), settings) if path.is_dir() else None
    return folder if folder is not None and _holds_questions(folder) else None


def _stored_folder(storage: Storage, name: str) -> list[str]:
    try:
        return [storage.uri(check_key(name))]
    except StorageError:
        return []


def _holds_questions(folder: Storage) -> bool:
    try:
        return is_beir(folder) or bool(part_files(folder))
    except StorageError:
        return False


def _is_there(storage: Storage, key: str) -> bool:
    try:
        return storage.exists(key)
    except StorageError:  # a text that is not a valid key, such as a path outside of storage
        return False


def _nearby(path: Path) -> str:
    """The end of a message about a path that is not a file with questions."""
    if path.is_dir():
        return f". {str(path)!r} is a folder without {QUERIES} or part files"
    return f". {str(path)!r} is a file with another extension: save it as .xlsx or CSV" if path.is_file() else ""


def save_golden_dataset(golden_dataset: GoldenDataset, name: str, settings: Settings | None = None) -> GoldenDataset:
    """Save questions, such as those loaded from a user's CSV, under a name in storage."""
    _check_name(name)
    settings = settings or Settings.from_environment()
    storage = open_storage(settings.golden_datasets_uri, settings)
    storage.ensure()
    storage.write_csv(f"{name}.csv", golden_table(golden_dataset.questions))
    return GoldenDataset(golden_dataset.questions, storage.uri(f"{name}.csv"))


def golden_table(questions: Sequence[GoldenQuestion]) -> pandas.DataFrame:
    """The questions as a table with `COLUMNS`, and with `EVIDENCE_COLUMN` if the location of some evidence is known;
    lists are written as JSON."""
    rows = [question.to_row() for question in questions]
    for row in rows:
        row["reference_contexts"] = json.dumps(row["reference_contexts"], ensure_ascii=False)
        if EVIDENCE_COLUMN in row:
            row[EVIDENCE_COLUMN] = json.dumps(row[EVIDENCE_COLUMN], ensure_ascii=False)
    located = (EVIDENCE_COLUMN,) if any(EVIDENCE_COLUMN in row for row in rows) else ()
    return pandas.DataFrame(rows, columns=pandas.Index([*COLUMNS, *located]))


def _check_name(name: str) -> None:
    if not name or "/" in name or name.startswith("."):
        raise ConfigurationError(f"name={name!r}: give a plain name without '/', e.g. 'golden'")


def _save(
    generation: Generation, batches: Sequence[GeneratedBatch], shortfalls: Sequence[str] | None = None
) -> GoldenDataset:
    """Save the distinct questions with their manifest; `shortfalls` are by default those of the batches."""
    name, settings = generation.name, generation.settings
    questions = [question for batch in batches for question in batch.questions]
    first: dict[str, GoldenQuestion] = {}
    for question in questions:
        first.setdefault(question.id, question)
    distinct = tuple(first.values())
    if shortfalls is None:
        shortfalls = [line for batch in batches for line in batch.shortfalls]
    shortfalls = list(shortfalls)
    if len(distinct) < len(questions):
        shortfalls.append(f"{len(questions) - len(distinct)} exact duplicate(s) dropped")
    if not distinct:
        reasons = shortfalls or ["for an unknown reason"]
        raise DataError(bullets(f"no question could be generated from {generation.documents.uri}:", reasons))
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
        "kinds": dict(Counter(question.synthesizer for question in golden.questions)),
        "evidence": {question.id: [asdict(span) for span in question.evidence] for question in golden.questions},
        "versions": versions(),
    }
    storage = open_storage(settings.golden_datasets_uri, settings)
    storage.write_json(f"{name}.manifest.json", {**manifest, "digest": digest(manifest)})
    generation.reporter.line(f"{name}: {len(golden.questions)} questions in {golden.uri}")
    return golden
