"""What an experiment will cost, before it is run, and how that compares with what it did cost.

Calls follow from the search space, the questions and the metrics; texts to embed from the documents themselves; tokens
are estimates. Nothing is sent to any model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas

from dream import doors, results
from dream.documents import load_documents
from dream.evaluator import METRICS, STRICTNESS, check_metrics
from dream.golden_dataset import load_golden_dataset
from dream.index_access import index_spec
from dream.index_store import documents_digest, is_stored
from dream.indexes import chunk, texts_to_embed
from dream.limits import MAX_CONCURRENCY
from dream.meter import CHECK_STAGE, price_of, read_prices
from dream.models import EMBED_BATCH_SIZE, split_identifier
from dream.passages import count_tokens
from dream.query_engines import index_request
from dream.records import GoldenDataset, Trial
from dream.search_space import SearchSpace, default_search_space
from dream.settings import OFFLINE, Endpoint, Settings
from dream.storage import open_storage

# How many passages an LLM reads for each hit that a method asks for, on the sample documents: windows that touch and
# leaves that are merged become one.
PASSAGES_A_HIT = {"sentence_window": 0.53, "hierarchical_automerging": 0.82}
# Judge calls a question, where context_precision is one a passage more; and texts that are embedded for the metrics.
JUDGE_CALLS = {"faithfulness": 2, "answer_relevancy": STRICTNESS, "context_recall": 1, "answer_correctness": 3}
JUDGE_TEXTS = {
    "answer_relevancy": ("question", "derived question"),
    "answer_correctness": ("answer", "ground truth"),
    "answer_similarity": ("answer", "ground truth"),
}
# Texts that are not asked for a second time, such as an answer that is the ground truth word for word.
EQUAL_TEXTS = 0.1
# Tokens, measured on the sample documents: the frame of a prompt, an answer, a judge's prompt and its reply.
PROMPT_FRAME, ANSWER_TOKENS, JUDGE_PROMPT, JUDGE_REPLY, SHORT_TEXT = 60, 42, 1190, 47, 38
# Seconds a call where nothing is known of an endpoint.
CALL_SECONDS = 1.0


@dataclass(frozen=True)
class PlannedCalls:
    """Model calls of one model and stage. `cached` of the `calls` are paid for already, by this very experiment's
    index or by an earlier experiment with the same trial; `usd` counts the others, None where a price is unknown."""

    model: str
    stage: str
    calls: int
    cached: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None


@dataclass(frozen=True)
class Plan:
    """What an experiment takes. `minutes` at least, at the limits that are known; `usd` None where a price is not."""

    n_trials: int
    n_questions: int
    indexes: int
    indexes_kept: int
    texts_to_embed: int
    calls: tuple[PlannedCalls, ...]
    usd: float | None
    minutes: float

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON, as manifests keep it."""
        return {**asdict(self), "calls": [asdict(row) for row in self.calls]}

    def __str__(self) -> str:
        usd = "unknown, since a price is not known (DREAM_PRICES)" if self.usd is None else f"{self.usd:,.2f}"
        kept = f", {self.indexes_kept} kept from before" if self.indexes_kept else ""
        head = (
            f"{self.n_trials} trials x {self.n_questions} questions, {self.indexes} indexes{kept}, "
            f"{self.texts_to_embed:,} texts to embed"
        )
        rows = [_shown(asdict(row)) for row in self.calls]
        table = pandas.DataFrame(rows).to_string(index=False) if rows else "no model calls"
        return f"{head}\n\n{table}\n\nUSD: {usd}. At least {self.minutes:.1f} minutes at the known limits."


def plan(
    search_space: SearchSpace | None = None,
    *,
    golden_dataset: str | GoldenDataset = "golden",
    documents_uri: str | None = None,
    metrics: Sequence[str] = METRICS,
    settings: Settings | None = None,
) -> Plan:
    """Count what `run_experiment` with the same arguments would do.

    Raises:
        ConfigurationError, DataError: for what `run_experiment` would refuse too.
    """
    settings = settings or Settings.from_environment()
    trials = (search_space or default_search_space(settings)).trials(settings)
    check_metrics(metrics)
    golden = load_golden_dataset(golden_dataset, settings)
    loaded = load_documents(open_storage(documents_uri or settings.documents_uri, settings))
    with doors.opened(settings):
        return plan_of(trials, golden, loaded.documents, loaded.digest, metrics, settings)


def plan_of(
    trials: Sequence[Trial],
    golden: GoldenDataset,
    documents: Sequence[Any],
    digest: str,
    metrics: Sequence[str],
    settings: Settings,
) -> Plan:
    """The plan of trials that were checked before; a gateway must be open."""
    counter = _Counter(settings)
    n = len(golden.questions)
    done = _finished_before(trials, golden, digest, metrics, settings)
    kept, texts = _count_indexes(trials, documents, settings, counter)
    question_tokens = sum(count_tokens(question.question) for question in golden.questions)
    for trial in trials:
        paid_before = n if trial.id in done else 0
        context = int(trial.parameters.get("context_tokens", 0) * 0.95)
        prompts = n * (context + PROMPT_FRAME) + question_tokens
        counter.add(trial.llm_identifier, "answer", n, paid_before, prompts, n * ANSWER_TOKENS)
        counter.add(trial.embed_model_identifier, "query", n, paid_before, question_tokens, 0)
        judged = round(n * (sum(JUDGE_CALLS.get(name, 0) for name in metrics) + _passages(trial, metrics)))
        cached = judged if paid_before else 0
        counter.add(settings.judge_llm, "judge", judged, cached, judged * JUDGE_PROMPT, judged * JUDGE_REPLY)
        texts_judged = {text for name in metrics for text in JUDGE_TEXTS.get(name, ())}
        embedded = round(n * len(texts_judged) * (1 - EQUAL_TEXTS))
        counter.add(settings.judge_embed_model, "judge", embedded, embedded * bool(cached), embedded * SHORT_TEXT, 0)
    rows = counter.rows()
    usd = None if any(row.usd is None for row in rows) else sum(row.usd or 0.0 for row in rows)
    distinct = len({index_key(trial) for trial in trials})
    return Plan(len(trials), n, distinct, kept, texts, rows, usd, counter.minutes())


def index_key(trial: Trial) -> str:
    """What tells the index of one trial from that of another, over the same documents."""
    chunker, parameters, embed_model = index_request(trial)
    return f"{chunker} {sorted(parameters.items())} {embed_model}"


def _passages(trial: Trial, metrics: Sequence[str]) -> float:
    hits = trial.parameters.get("top_k", 1)
    return hits * PASSAGES_A_HIT.get(trial.query_engine_identifier, 1.0) if "context_precision" in metrics else 0.0


def _count_indexes(
    trials: Sequence[Trial], documents: Sequence[Any], settings: Settings, counter: "_Counter"
) -> tuple[int, int]:
    """Indexes that are kept from before, and texts that are to be embedded for the others."""
    cache = open_storage(settings.cache_uri, settings)
    digest = documents_digest(documents)
    kept = to_embed = 0
    texts: dict[str, list[str]] = {}
    for trial in {index_key(trial): trial for trial in trials}.values():
        chunker, parameters, embed_model = index_request(trial)
        split = f"{chunker} {sorted(parameters.items())}"
        if split not in texts:
            texts[split] = texts_to_embed(chunk(documents, chunker, parameters))
        n_calls = -(-len(texts[split]) // EMBED_BATCH_SIZE)
        known = is_stored(cache, index_spec(digest, chunker, parameters, embed_model))
        kept += known
        if not known:  # a kept index asks for nothing at all
            to_embed += len(texts[split])
            counter.add(embed_model, "embed", n_calls, 0, sum(map(count_tokens, texts[split])), 0)
    return kept, to_embed


def _finished_before(
    trials: Sequence[Trial], golden: GoldenDataset, digest: str, metrics: Sequence[str], settings: Settings
) -> set[str]:
    """Trials that an earlier experiment finished on the same questions, documents and judge: what they asked is in
    the cache, unless it was emptied since."""
    storage = open_storage(settings.experiments_uri, settings)
    wanted, found = {trial.id for trial in trials}, set[str]()
    for name in results.experiment_names(storage):
        manifest = results.load_manifest(storage, name)
        same = (
            manifest["golden_dataset"]["digest"] == golden.digest
            and manifest["documents"]["digest"] == digest
            and manifest["judge_llm"] == settings.judge_llm
            and manifest["judge_embed_model"] == settings.judge_embed_model
            and set(metrics) <= set(manifest["metrics"])
        )
        if same and results.load_usage(storage, name):
            planned = [Trial(**one) for one in manifest["trials"]]
            found |= {one.trial.id for one in results.load_results(storage, name, planned) if one.error is None}
    return found & wanted


class _Counter:
    """Adds calls up by model and stage."""

    def __init__(self, settings: Settings) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in settings.endpoints}
        self._prices = read_prices(settings.prices)
        self._rows: dict[tuple[str, str], list[int]] = {}

    def add(self, model: str, stage: str, calls: int, cached: int, prompt_tokens: int, completion_tokens: int) -> None:
        row = self._rows.setdefault((model, stage), [0, 0, 0, 0])
        for place, number in enumerate((calls, cached, prompt_tokens, completion_tokens)):
            row[place] += number

    def rows(self) -> tuple[PlannedCalls, ...]:
        return tuple(
            PlannedCalls(model, stage, row[0], row[1], row[2], row[3], self._usd(model, row))
            for (model, stage), row in self._rows.items()
        )

    def minutes(self) -> float:
        """The slowest endpoint's time: its calls at its rate, or at the concurrency that it is given."""
        by_endpoint: dict[str, int] = {}
        for (model, _), row in self._rows.items():
            name = split_identifier(model)[0]
            by_endpoint[name] = by_endpoint.get(name, 0) + row[0] - row[1]
        return max((self._minutes(name, calls) for name, calls in by_endpoint.items()), default=0.0)

    def _minutes(self, name: str, calls: int) -> float:
        endpoint = self._endpoints.get(name, Endpoint(name, ""))
        at_concurrency = 0.0 if name == OFFLINE else calls * CALL_SECONDS / 60
        at_concurrency /= endpoint.max_concurrency or MAX_CONCURRENCY
        return max(at_concurrency, calls / endpoint.requests_per_minute if endpoint.requests_per_minute else 0.0)

    def _usd(self, model: str, row: Sequence[int]) -> float | None:
        name, plain = split_identifier(model)
        base_url = self._endpoints[name].base_url if name in self._endpoints else ""
        price = price_of(name, plain, base_url, self._prices)
        if price is None:
            return None
        share = 1 - row[1] / row[0] if row[0] else 0.0
        return price.usd(row[2], row[3]) * share


def plan_against_actual(planned: Mapping[str, Any], usage: Iterable[Mapping[str, Any]]) -> pandas.DataFrame:
    """A row for each model and stage: calls and tokens as planned and as they were, what the cache gave, USD."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in planned["calls"]:
        rows[row["model"], row["stage"]] = {"planned calls": row["calls"], "planned USD": row["usd"]}
    for row in usage:
        if row["stage"] == CHECK_STAGE:
            continue
        actual = rows.setdefault((_identifier(row), row["stage"]), {"planned calls": 0, "planned USD": None})
        for name, value in (("calls", row["calls"]), ("from cache", row["cached"]), ("sent", row["sent"])):
            actual[name] = actual.get(name, 0) + value
        tokens = row["prompt_tokens"] + row["completion_tokens"]
        actual["tokens"] = actual.get("tokens", 0) + round(tokens)
        before = actual.get("USD", 0.0)
        actual["USD"] = None if before is None or row["usd"] is None else before + row["usd"]
    table = pandas.DataFrame([{"model": model, "stage": stage, **row} for (model, stage), row in rows.items()])
    counts = [name for name in ("calls", "from cache", "sent", "tokens") if name in table]
    table[counts] = table[counts].fillna(0).astype(int)
    return table


def _identifier(row: Mapping[str, Any]) -> str:
    """How a model of the meter is named in settings."""
    if row["endpoint"] == OFFLINE:
        return f"{OFFLINE}/{row['model']}"
    return row["model"] if split_identifier(row["model"])[0] == row["endpoint"] else f"{row['model']}@{row['endpoint']}"


def _shown(row: Mapping[str, Any]) -> dict[str, str]:
    usd = "unknown" if row["usd"] is None else f"{row['usd']:,.4f}"
    return {
        "model": row["model"],
        "stage": row["stage"],
        "calls": f"{row['calls']:,}",
        "in cache": f"{row['cached']:,}",
        "tokens": f"{row['prompt_tokens'] + row['completion_tokens']:,}",
        "USD": usd,
    }
