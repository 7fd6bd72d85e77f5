"""Documents become golden questions: ragas' TestsetGenerator in Ray tasks of at most 3 files each.

<name>.csv              one row a question, text exactly as generated
<name>.manifest.json    who made it, from which documents, with which models and versions, what fell short
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas

from dream import ray_cluster
from dream.documents.loading import load_documents, merge_pages
from dream.errors import ConfigurationError, DataError, bullets, explain
from dream.golden.generator import generate_questions
from dream.models import gateway_client
from dream.models.pickers import check_identifiers, check_models
from dream.provenance import versions
from dream.records import GoldenDataset, GoldenQuestion, digest
from dream.services import renew_session
from dream.settings import Settings
from dream.storage.objects import Storage, open_storage

COLUMNS = ("id", "question", "ground_truth", "reference_contexts", "source_file", "source_page", "synthesizer")
REQUIRED_COLUMNS = ("question", "ground_truth")
FILES_PER_TASK = 3
ATTEMPTS = 3


@dataclass(frozen=True)
class Generated:
    """What one task made of its files: the questions, and a line for whatever fell short."""

    questions: pandas.DataFrame
    shortfalls: tuple[str, ...] = ()


def generate_golden_dataset(
    n_questions: int = 30,
    *,
    name: str = "golden",
    documents_uri: str | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    show: Callable[[str], None] | None = print,
) -> GoldenDataset:
    """Generate single-hop and multi-hop questions from all documents in storage, and save them.

    Args:
        n_questions: how many to ask for; fewer may come, and every shortfall is shown and kept with its reason.
        name: the dataset's name in `settings.golden_datasets_uri`; an existing one is replaced.
        seed: of ragas' random choices, so that the same documents and answers give the same questions.

    Raises:
        DataError: when no usable document or no question at all is left, with the reasons.
        ConfigurationError, ServiceError: before any question is paid for.
    """
    settings = settings or Settings.from_environment()
    tell = show or (lambda line: None)
    if n_questions < 1:
        raise ConfigurationError(f"n_questions={n_questions} must be at least 1")
    _check_name(name)
    models = (settings.generator_llm, settings.judge_embed_model)
    if problems := check_identifiers(models, settings):
        raise ConfigurationError(bullets("the generator cannot be used:", problems))
    source = open_storage(documents_uri or settings.documents_uri, settings)
    loaded = load_documents(source)
    for line in loaded.report:
        if line.status != "read":
            tell(f"  {line}")
    files = sorted({document.metadata["file_name"] for document in loaded.documents})
    batches = [files[i : i + FILES_PER_TASK] for i in range(0, len(files), FILES_PER_TASK)]
    tell(f"{name}: {n_questions} questions from {len(files)} files in {len(batches)} tasks")
    with ray_cluster.connected(settings), gateway_client.opened(settings):
        check_models([settings.generator_llm], [settings.judge_embed_model])
        outcomes = _run_tasks(source, batches, n_questions, models, seed, tell)
    return _save(name, outcomes, n_questions, settings, loaded.digest, source.uri(""), seed, tell)


def load_golden_dataset(golden_dataset: str | GoldenDataset, settings: Settings | None = None) -> GoldenDataset:
    """A golden dataset by its name in storage, or from a CSV file of one's own.

    The CSV needs the columns `question` and `ground_truth`; the others of `COLUMNS` are optional.

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
    """Save questions under a name in storage, for instance a CSV of one's own that was loaded before."""
    _check_name(name)
    settings = settings or Settings.from_environment()
    storage = open_storage(settings.golden_datasets_uri, settings)
    storage.ensure()
    storage.write_csv(f"{name}.csv", golden_table(golden_dataset.questions))
    return GoldenDataset(golden_dataset.questions, storage.uri(f"{name}.csv"))


def golden_table(questions: Sequence[GoldenQuestion]) -> pandas.DataFrame:
    """The questions as a table with `COLUMNS`; reference contexts as a JSON list, so that they stay apart."""
    rows = [
        {**asdict(question), "reference_contexts": json.dumps(question.reference_contexts, ensure_ascii=False)}
        for question in questions
    ]
    return pandas.DataFrame(rows, columns=pandas.Index(COLUMNS))


def question_from_json(row: Mapping[str, Any]) -> GoldenQuestion:
    """A question as a manifest keeps it."""
    return GoldenQuestion(**{**row, "reference_contexts": tuple(row["reference_contexts"])})


def _check_name(name: str) -> None:
    if not name or "/" in name or name.startswith("."):
        raise ConfigurationError(f"name={name!r}: give a plain name without '/', e.g. 'golden'")


def _questions(table: pandas.DataFrame, where: str) -> tuple[GoldenQuestion, ...]:
    problems = _table_problems(table)
    if problems:
        raise DataError(bullets(f"{len(problems)} mistake(s) in {where}:", problems))
    return tuple(_question(row) for row in table.to_dict("records"))


def _question(row: Mapping[str, Any]) -> GoldenQuestion:
    return GoldenQuestion(
        GoldenQuestion.make_id(row["question"], row["ground_truth"]),
        row["question"],
        row["ground_truth"],
        tuple(json.loads(row.get("reference_contexts") or "[]")),
        *(row.get(column) or "" for column in COLUMNS[4:]),
    )


def _table_problems(table: pandas.DataFrame) -> list[str]:
    missing = [column for column in REQUIRED_COLUMNS if column not in table.columns]
    if missing:
        return [f"missing column(s) {', '.join(missing)}; it has: {', '.join(map(str, table.columns)) or 'none'}"]
    if table.empty:
        return ["it has no rows: give at least one question"]
    problems = []
    seen: dict[tuple[str, str], int] = {}
    for row, values in enumerate(table.to_dict("records"), start=2):
        problems += [f"row {row}: {column} is empty" for column in REQUIRED_COLUMNS if not values[column].strip()]
        if not _is_list_of_texts(values.get("reference_contexts") or "[]"):
            problems.append(f'row {row}: reference_contexts must be a JSON list of texts, e.g. ["one", "two"]')
        pair = (values["question"], values["ground_truth"])
        if first := seen.get(pair):
            problems.append(f"row {row}: the same question and ground truth as row {first}")
        seen.setdefault(pair, row)
    return problems


def _is_list_of_texts(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _run_tasks(
    source: Storage,
    batches: Sequence[Sequence[str]],
    n_questions: int,
    models: tuple[str, str],
    seed: int,
    tell: Callable[[str], None],
) -> list[Generated]:
    """One Ray task a batch; a failed one is tried again, then reported, and the others' questions are kept."""
    import ray
    from ray.exceptions import RayError

    # ragas goes through sets of texts, whose order Python draws anew in each process unless told otherwise
    same_order = {"env_vars": {"PYTHONHASHSEED": "0"}}
    task = ray.remote(_generate).options(num_cpus=1, max_retries=0, runtime_env=same_order)
    shares = [n_questions // len(batches) + (i < n_questions % len(batches)) for i in range(len(batches))]

    def submit(i: int) -> Any:
        return task.remote(source.in_memory(batches[i]), batches[i], shares[i], models, seed + i)

    waiting = {submit(i): (i, 1) for i in range(len(batches)) if shares[i]}
    outcomes: dict[int, Generated] = {}
    while waiting:
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        i, attempt = waiting.pop(done)
        names = ", ".join(batches[i])
        try:
            outcomes[i] = ray.get(done)
        except RayError as error:
            reason = explain(getattr(error, "cause", None) or error)
            if attempt < ATTEMPTS:
                tell(f"  attempt {attempt} of {ATTEMPTS} failed: {names}: {reason}")
                waiting[submit(i)] = (i, attempt + 1)
                continue
            outcomes[i] = Generated(
                golden_table([]), (f"{names}: 0 of {shares[i]} questions: {reason} ({ATTEMPTS} attempts)",)
            )
        tell(f"  {len(outcomes[i].questions)} of {shares[i]} questions from {names}")
    return [outcomes[i] for i in sorted(outcomes)]


def _generate(source: Storage, files: Sequence[str], n_questions: int, models: tuple[str, str], seed: int) -> Generated:
    """The Ray task: read some files from storage and make questions of them."""
    renew_session()
    try:
        documents = merge_pages(load_documents(source, keys=files).documents)
        questions, shortfalls = generate_questions(documents, n_questions, *models, seed=seed)
    except Exception as error:  # noqa: BLE001
        raise DataError(explain(error)) from None  # others' exceptions may not survive the way back
    return Generated(golden_table(questions), tuple(shortfalls))


def _save(
    name: str,
    outcomes: Sequence[Generated],
    n_questions: int,
    settings: Settings,
    documents_digest: str,
    documents_uri: str,
    seed: int,
    tell: Callable[[str], None],
) -> GoldenDataset:
    table = pandas.concat([outcome.questions for outcome in outcomes], ignore_index=True)
    distinct = table.drop_duplicates(["question", "ground_truth"], ignore_index=True)
    shortfalls = [line for outcome in outcomes for line in outcome.shortfalls]
    if len(distinct) < len(table):
        shortfalls.append(f"{len(table) - len(distinct)} exact duplicate(s) dropped")
    if distinct.empty:
        reasons = shortfalls or ["no reason was given"]
        raise DataError(bullets(f"no question could be made of {documents_uri}:", reasons))
    for line in shortfalls:
        tell(f"  fell short: {line}")
    storage = open_storage(settings.golden_datasets_uri, settings)
    uri = storage.uri(f"{name}.csv")
    golden = save_golden_dataset(GoldenDataset(_questions(distinct, uri)), name, settings)
    manifest = {
        "made_by": "dream golden",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "offline": settings.generator_llm.startswith("offline/"),
        "documents": {"uri": documents_uri, "digest": documents_digest},
        "generator_llm": settings.generator_llm,
        "embed_model": settings.judge_embed_model,
        "seed": seed,
        "questions_wanted": n_questions,
        "questions": len(golden.questions),
        "questions_digest": golden.digest,
        "shortfalls": shortfalls,
        "versions": versions(),
    }
    storage.write_json(f"{name}.manifest.json", {**manifest, "digest": digest(manifest)})
    tell(f"{name}: {len(golden.questions)} questions in {golden.uri}")
    return golden
