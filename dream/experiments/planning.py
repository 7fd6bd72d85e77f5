"""What an experiment will cost, before it is run.

Calls follow from the search space, the questions and the metrics; texts to embed from the documents themselves; tokens
are estimates. Nothing is sent to any model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas

from dream.evaluation.evaluate import STRICTNESS, Repeats
from dream.experiments import store
from dream.experiments.spec import JUDGE_REPEAT_QUESTIONS, Asked, Work, repeats_of
from dream.indexes.chunkers import chunk, texts_to_embed
from dream.indexes.client import index_spec
from dream.indexes.store import documents_digest, is_stored
from dream.metrics import COMPUTED, DEFINITIONS, METRICS
from dream.models import gateway_client
from dream.models.pickers import EMBED_BATCH_SIZE
from dream.models.planned_usage import Counter, PlannedCalls
from dream.models.usage import known_sum
from dream.rag.baselines import metrics_of
from dream.rag.methods import index_request
from dream.rag.search_space import SearchSpace
from dream.records import ORACLE, GoldenDataset, GoldenQuestion, Trial
from dream.settings import Settings
from dream.storage.objects import open_storage
from dream.tokens import count_tokens

# How many passages an LLM reads for each hit that a method asks for, on the sample documents: windows that touch and
# leaves that are merged become one.
PASSAGES_A_HIT = {"sentence_window": 0.53, "hierarchical_automerging": 0.82}
# Tokens, measured on the sample documents: the frame of a prompt, an answer, a judge's prompt and its reply.
PROMPT_FRAME, ANSWER_TOKENS, JUDGE_PROMPT, JUDGE_REPLY, SHORT_TEXT = 60, 42, 1190, 47, 38


@dataclass(frozen=True)
class Plan:
    """What an experiment takes. `minutes` at least, at the limits that are known; `usd` None where a price is not.

    `notes` say what is run besides the trials: repeated judgements and baselines, whose calls are counted too.
    """

    n_trials: int
    n_questions: int
    indexes: int
    indexes_kept: int
    texts_to_embed: int
    calls: tuple[PlannedCalls, ...]
    usd: float | None
    minutes: float
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON, as manifests keep it."""
        return {**asdict(self), "calls": [asdict(row) for row in self.calls], "notes": list(self.notes)}

    def __str__(self) -> str:
        usd = "unknown, since a price is not known (DREAM_PRICES)" if self.usd is None else f"{self.usd:,.2f}"
        kept = f", {self.indexes_kept} kept from before" if self.indexes_kept else ""
        head = (
            f"{self.n_trials} trials x {self.n_questions} questions, {self.indexes} indexes{kept}, "
            f"{self.texts_to_embed:,} texts to embed"
        )
        head = "\n".join([head, *self.notes])
        rows = [_shown(asdict(row)) for row in self.calls]
        table = pandas.DataFrame(rows).to_string(index=False) if rows else "no model calls"
        return f"{head}\n\n{table}\n\nUSD: {usd}. At least {self.minutes:.1f} minutes at the known limits."


def plan(
    search_space: SearchSpace | None = None,
    *,
    golden_dataset: str | GoldenDataset = "golden",
    documents_uri: str | None = None,
    metrics: Sequence[str] = METRICS,
    judge_repeats: int = 1,
    judge_repeat_questions: int = JUDGE_REPEAT_QUESTIONS,
    baselines: bool = False,
    settings: Settings | None = None,
) -> Plan:
    """Count what `run_experiment` with the same arguments would do.

    Raises:
        ConfigurationError, DataError: for what `run_experiment` would refuse too.
    """
    settings = settings or Settings.from_environment()
    asked = Asked(
        search_space, golden_dataset, documents_uri, metrics, judge_repeats, judge_repeat_questions, baselines
    )
    work = asked.work(settings)
    with gateway_client.opened(settings):
        return plan_of(work, settings)


def plan_of(work: Work, settings: Settings, but: str = "") -> Plan:
    """Count what these trials and baselines would do; what the experiment `but` has paid is counted as not paid."""
    counter = Counter(settings)
    kept, texts = _count_indexes(work.trials, work.shared.documents, settings, counter)
    before = _finished_before(work, settings, but)
    for trial in work.everything:
        _count_trial(trial, work, before.get(trial.id), counter)
    rows = counter.rows()
    usd = known_sum(row.usd for row in rows)
    distinct = len({index_key(trial) for trial in work.trials})
    n_trials, n = len(work.trials), len(work.questions)
    return Plan(n_trials, n, distinct, kept, texts, rows, usd, counter.minutes(), work.notes)


def _count_trial(trial: Trial, work: Work, paid: Repeats | None, counter: Counter) -> None:
    """Its questions answered, judged, and judged again; `paid` is what an earlier experiment judged of it."""
    questions, metrics = work.questions_of(trial), metrics_of(trial, work.shared.metrics)
    n, question_tokens = len(questions), sum(count_tokens(question.question) for question in questions)
    prompts = n * PROMPT_FRAME + _context_tokens(trial, questions) + question_tokens
    counter.add(trial.llm_identifier, "answer", n, n if paid else 0, prompts, n * ANSWER_TOKENS)
    if not trial.is_baseline:
        counter.add(trial.embed_model_identifier, "query", n, n if paid else 0, question_tokens, 0)
    _count_judgements(trial, work, metrics, (n, n if paid else 0), counter)
    repeats = work.shared.repeats_of(trial)
    if times := (repeats.times - 1) * len(repeats.question_ids):
        judged = [name for name in metrics if name not in COMPUTED]
        paid_again = paid and paid.times >= repeats.times and {*paid.question_ids} >= {*repeats.question_ids}
        _count_judgements(trial, work, judged, (times, times if paid_again else 0), counter, again=True)


def _count_judgements(
    trial: Trial, work: Work, metrics: Sequence[str], answers: tuple[int, int], counter: Counter, again: bool = False
) -> None:
    """So many answers judged once on these metrics, and how many of them are paid. A judgement that is made `again`
    embeds the same texts, but for the question that the judge derives anew."""
    n, paid = answers
    definitions = [DEFINITIONS[name] for name in metrics]
    a_question = sum(metric.calls(STRICTNESS, _passages(trial)) for metric in definitions)
    judged, cached = round(n * a_question), round(paid * a_question)
    counter.add(work.shared.judge_llm, "judge", judged, cached, judged * JUDGE_PROMPT, judged * JUDGE_REPLY)
    texts = {text for metric in definitions for text in metric.embedded}
    known, derived = (
        bool(texts),
        any(metric.derives_questions for metric in definitions),
    )  # all that are known in one call, then the other
    embedded, kept = n * (known + derived), n * known if again else 0
    cached = embedded if paid else kept
    counter.add(work.shared.judge_embed_model, "judge", embedded, cached, n * (len(texts) + derived) * SHORT_TEXT, 0)


def _context_tokens(trial: Trial, questions: Sequence[GoldenQuestion]) -> int:
    """What the LLM reads for all questions besides the questions themselves."""
    if trial.query_engine_identifier == ORACLE:
        return sum(count_tokens(text) for question in questions for text in question.reference_contexts)
    # whole passages never fill the budget exactly
    return len(questions) * int(trial.parameters.get("context_tokens", 0) * 0.95)


def index_key(trial: Trial) -> str:
    """What tells the index of one trial from that of another, over the same documents."""
    chunker, parameters, embed_model = index_request(trial)
    return f"{chunker} {sorted(parameters.items())} {embed_model}"


def _passages(trial: Trial) -> float:
    return trial.parameters.get("top_k", 1) * PASSAGES_A_HIT.get(trial.query_engine_identifier, 1.0)


def _count_indexes(
    trials: Sequence[Trial], documents: Sequence[Any], settings: Settings, counter: Counter
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


def _finished_before(work: Work, settings: Settings, but: str) -> dict[str, Repeats]:
    """Trials that an earlier experiment finished on the same questions, documents and judge, with what it judged
    again: what they asked is in the cache, unless it was emptied since."""
    storage, shared = open_storage(settings.experiments_uri, settings), work.shared
    found: dict[str, Repeats] = {}
    for name in store.experiment_names(storage):
        manifest = store.load_manifest(storage, name)
        same = (
            manifest["golden_dataset"]["digest"] == shared.golden_dataset.digest
            and manifest["documents"]["digest"] == work.documents_digest
            and manifest["judge_llm"] == shared.judge_llm
            and manifest["judge_embed_model"] == shared.judge_embed_model
            and set(shared.metrics) <= set(manifest["metrics"])
        )
        if not same or name == but or not store.load_usage(storage, name):
            continue
        planned = [Trial(**one) for part in ("trials", "baselines") for one in manifest.get(part, [])]
        done = [one.trial.id for one in store.load_results(storage, name, planned) if one.error is None]
        repeats = repeats_of(manifest)
        found |= {one: repeats for one in done if one not in found or repeats.times > found[one].times}
    return found


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
