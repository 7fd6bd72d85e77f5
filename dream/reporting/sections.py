"""The report's sections with the evidence: the worst questions, metrics, failures, configuration and cost.

Each function takes the experiment and its comparison (None if no trial could be ranked), and returns a section, or None
if it has no content.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy
import pandas

from dream.comparison.calibration_table import SHOWN_COLUMNS, shown_rows
from dream.comparison.comparison import Comparison
from dream.metrics import EXPLANATION_COLUMNS, explanation_rows
from dream.models.planned_usage import plan_against_actual
from dream.models.usage import CHECK_STAGE
from dream.records import (
    HELD_OUT_STAGE,
    SIFT_STAGE,
    Answer,
    ExperimentResult,
    GoldenQuestion,
    Passage,
    Score,
    Source,
    Trial,
    TrialResult,
    UsageRow,
    add_usage,
    known_sum,
    shortened,
)
from dream.reporting.html_page import Bullets, Case, Facts, Fold, Note, Section, Table, Text
from dream.settings import safe_uri

N_WORST = 5
UNKNOWN = "unknown"
_MOST_FAILURES = 100


def worst_questions(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    """The `N_WORST` questions with the lowest scores of the recommended trial, with contexts and judgements."""
    if comparison is None:
        return None
    column = comparison.standings.index(comparison.recommended)
    result, values = comparison.scores.results[column], comparison.scores.values[:, column]
    questions = {question.id: question for question in experiment.manifest.questions}
    answers = {answer.question_id: answer for answer in result.answers}
    ids = comparison.scores.question_ids
    order = sorted(range(len(ids)), key=lambda row: _badness(values[row], answers.get(ids[row])))[:N_WORST]
    cases = [
        _case(number, questions[ids[row]], answers.get(ids[row]), result, comparison.metric, values[row])
        for number, row in enumerate(order, 1)
    ]
    text = (
        f"The {len(cases)} questions that the recommended trial, {result.trial.name}, answered worst by "
        f"{comparison.metric}. Questions without an answer come first; those that only the judge failed on come last."
    )
    return Section("worst", "Where the recommended trial fails", [Text(text), *cases])


def _badness(value: float, answer: Answer | None) -> tuple[int, float]:
    if answer is None or answer.failure:
        return 0, 0.0
    return (2, 0.0) if numpy.isnan(value) else (1, float(value))


def _case(
    number: int, question: GoldenQuestion, answer: Answer | None, result: TrialResult, metric: str, value: float
) -> Case:
    score = "no score" if numpy.isnan(value) else f"{value:.3f}"
    facts = {"question": question.question, "ground truth": question.ground_truth}
    if question.sources:
        facts["made from"] = "; ".join(map(str, question.sources))
    if answer is None:
        facts["answer"] = "none: the trial ended before this question"
    elif answer.failure:
        facts["error"] = answer.failure.reason
    else:
        cut = "\n(cut: it reached the token limit, DREAM_MAX_ANSWER_TOKENS)" if answer.is_cut else ""
        facts["answer"] = (answer.text or "(empty)") + cut
    contexts = answer.contexts if answer else ()
    folds = [Fold(_passage_title(n, passage), passage.text) for n, passage in enumerate(contexts, 1)]
    if answer and answer.thinking:
        folds.insert(0, Fold("the LLM's thinking, which was not judged", answer.thinking))
    scores = (
        [score for score in result.evaluation.scores if score.question_id == question.id] if result.evaluation else []
    )
    return Case(f"{number}. {metric} {score}", facts, folds, _judged(scores))


def _judged(scores: Sequence[Score]) -> Table:
    """The score of each metric, with a column for reasons and errors if there are any."""
    columns = ["metric", "score", "reason, or error"]
    rows = [
        [score.metric, _value(score), score.error or score.not_applicable or score.reason or ""] for score in scores
    ]
    width = 3 if any(row[2] for row in rows) else 2
    return Table("How it was judged", columns[:width], [row[:width] for row in rows], _numbers("score"))


def _value(score: Score) -> str:
    if score.value is None:
        return "not applicable" if score.not_applicable else "failed"
    return f"{score.value:.3f}"


def _passage_title(number: int, passage: Passage) -> str:
    source = Source(passage.file_name or "unknown file", passage.page_label)
    score = "" if passage.score is None else f", retrieval score {passage.score:.3f}"
    cut = ", cut to fit context_tokens" if passage.is_cut else ""
    return f"context {number}: {source} ({passage.tokens} tokens{cut}{score})"


def metrics_explained(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    """The metrics of the experiment: the question that each answers, its computation, and causes of a low value."""
    if comparison is None:
        return None
    manifest = experiment.manifest
    rows = [[text.replace("`", "") for text in row] for row in explanation_rows(manifest.metrics, manifest.own_metrics)]
    return Section("metrics", "How to read the metrics", [Table("The metrics", EXPLANATION_COLUMNS, rows)])


def calibrated_means(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    """The means corrected by human labels of some answers."""
    if comparison is None or comparison.calibration is None:
        return None
    rows = [tuple(row.values()) for row in shown_rows(comparison.calibration)]
    text = (
        "Human labels correct the judge's means (prediction-powered inference). Each interval contains, with 95 % "
        "confidence, the mean that people would give; intervals of differences to the first trial are simultaneous "
        "over all pairs. Ranking and recommendation use the judge's scores."
    )
    said = Bullets(comparison.calibration.text.splitlines())
    table = Table(f"{comparison.metric} as people would judge", SHOWN_COLUMNS, rows, _numbers("judge", "labels"))
    return Section("calibration", "Corrected by human labels", [Text(text), said, table])


def sifted_out(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    """The retrieval combinations that were scored before the experiment, and those that were left out."""
    sift = experiment.manifest.sift
    if sift is None or not sift.is_done:
        return None
    metrics = list(dict.fromkeys(name for each in sift.retrievals for name in each.means))
    columns = ("RAG method", "embedding model", "parameters", "trials", *metrics, "against the best", "outcome")
    rows = [
        (
            each.trial.query_engine_identifier,
            each.trial.embed_model_identifier,
            parameters(each.trial.parameters),
            str(len(each.trials)),
            *("–" if (mean := each.means.get(name)) is None else f"{mean:.3f}" for name in metrics),
            each.compared,
            "kept" if each.goes_on else "left out",
        )
        for each in sift.retrievals
    ]
    text = (
        f"{sift.summary} Trials that differ only in how the LLM answers share a combination. One was left out if the "
        f"95 % confidence interval of its difference in {sift.metric} to the best is below 0; the intervals are "
        "simultaneous over all pairs. An LLM could still have answered better from what it retrieved."
    )
    reasons = Bullets([f"not sifted: {reason}" for reason in dict.fromkeys(sift.untried.values())])
    table = Table("Retrieval combinations", columns, rows, _numbers("trials", *metrics, "against the best"))
    return Section(
        "sift", "What was left out before the trials", [Text(text), *([reasons] if sift.untried else []), table]
    )


def left_race(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    """The looks of a race, and the trials that left at each look, with the evidence."""
    race = experiment.manifest.race
    if race is None or not race.was_run:
        return None
    names = {result.trial.id: result.trial for result in experiment.results}
    rows = [
        (
            f"{look.questions:,} of {len(race.order):,}",
            _named(names, leaving.trial_id),
            _named(names, leaving.comparator),
            f"{leaving.difference:+.3f} [{leaving.low:+.3f}, {leaving.high:+.3f}]",
        )
        for look in race.looks
        for leaving in look.left
    ]
    done = [f"{look.questions:,}" for look in race.looks if look.is_done]
    text = (
        f"{race.summary} The looks came after {', '.join(done)} questions, the same for all trials. The intervals are "
        f"simultaneous over all trials and looks. The comparison of the remaining trials has "
        f"{100 * (comparison.confidence if comparison else 1 - race.error):g} % confidence."
    )
    if not rows:
        return Section("race", "Trials that left the race", [Text(text)])
    columns = ("after questions", "trial", "worse than", "difference")
    return Section("race", "Trials that left the race", [Text(text), Table("Evidence", columns, rows, _numbers())])


def _named(trials: Mapping[str, Trial], trial_id: str) -> str:
    trial = trials.get(trial_id)
    return f"{trial.name} ({parameters(trial.parameters)})" if trial else trial_id


def failures(experiment: ExperimentResult, comparison: Comparison | None) -> Section:
    """All failures; equal errors of one trial are counted in one row."""
    counts: dict[tuple[str, str, str], int] = {}
    for result in experiment.results:
        for part, error in _errors(result):
            key = (result.trial.name, part, error)
            counts[key] = counts.get(key, 0) + 1
    title, by_hand = "Failures", _stopped_by_hand(experiment)
    if not counts:
        none = Text("None: every question was answered, and every answer was scored.")
        return Section("failures", title, by_hand or [none])
    rows = [(*key, f"{n:,}") for key, n in sorted(counts.items(), key=lambda item: -item[1])]
    shown = rows[:_MOST_FAILURES]
    text = f"{sum(counts.values()):,} failures. Each is left out of the mean and counted separately."
    if len(shown) < len(rows):
        text += f" The {len(shown)} most frequent of {len(rows):,} kinds are shown."
    table = Table("Failures by trial and error", ("trial", "part", "error", "count"), shown, _numbers("count"))
    stopped = [Note(f"The experiment is not finished: {experiment.stopped}")] if experiment.stopped else []
    return Section("failures", title, [*stopped, Text(text), table, *by_hand])


def _stopped_by_hand(experiment: ExperimentResult) -> list[Text]:
    stopped = [f"{result.trial.name}: {result.error}" for result in experiment.results if result.ended_early]
    return [Text(f"Not ranked, and no failures: {'; '.join(stopped)}.")] if stopped else []


def _errors(result: TrialResult) -> Iterable[tuple[str, str]]:
    if result.failure and result.has_failed:
        yield "trial", result.failure.reason
    if result.evaluation:
        yield from (("answer", answer.failure.reason) for answer in result.answers if answer.failure)
        for score in result.evaluation.scores:
            if score.failure:
                yield f"score: {score.metric}", score.failure.reason


def what_was_run(experiment: ExperimentResult, comparison: Comparison | None) -> Section:
    """The manifest: everything needed to reproduce the experiment."""
    manifest = experiment.manifest
    golden, documents = manifest.golden_dataset, manifest.documents
    cluster = asdict(manifest.cluster) if manifest.cluster else {}
    n_failed = sum(result.has_failed for result in experiment.results)
    n_stopped = sum(result.stopped_by_hand for result in experiment.results)
    stopped = f", {n_stopped} stopped by hand" if n_stopped else ""
    n_left = sum(result.left_race for result in experiment.results)
    stopped += f", {n_left} left the race" if n_left else ""
    facts = {
        "experiment": experiment.name,
        "started": manifest.started.isoformat() if manifest.started else UNKNOWN,
        "trials": f"{len(experiment.results)}, of which {n_failed} failed{stopped}",
        "metrics": ", ".join(manifest.metrics),
        "judge": f"{manifest.judge_llm or UNKNOWN}, embedding with {manifest.judge_embed_model or UNKNOWN}",
        "strictness of answer_relevancy": str(manifest.strictness) if manifest.strictness > 1 else "",
        "golden dataset": _located(golden.uri, golden.digest, f"{len(golden.questions)} questions"),
        "documents": _located(documents.uri, documents.digest),
        "endpoints": _listed({name: safe_uri(url) for name, url in manifest.endpoints.items()}),
        "engine": manifest.engine,
        "cluster": _listed({name: safe_uri(str(value)) for name, value in cluster.items()}),
        "versions": _listed(manifest.versions),
    }
    trials = Table(
        "Every trial with its parameters",
        ("trial", "RAG method", "LLM", "embedding model", "parameters"),
        [
            (
                trial.id,
                trial.query_engine_identifier,
                trial.llm_identifier,
                trial.embed_model_identifier,
                parameters(trial.parameters),
            )
            for trial in (result.trial for result in experiment.results)
        ],
    )
    return Section("run", "What was run", [Facts({name: text for name, text in facts.items() if text}), trials])


def parameters(values: Mapping[str, Any]) -> str:
    """A trial's parameters in one line.

    Example:
        >>> parameters({"top_k": 3, "chunk_size": 256})
        'top_k=3, chunk_size=256'
    """
    return ", ".join(f"{name}={shortened(value)}" for name, value in values.items())


def _located(uri: str, digest: str, size: str = "") -> str:
    return "\n".join(part for part in (size, safe_uri(uri), f"SHA-256 {digest}" if digest else "") if part)


def _listed(pairs: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in pairs.items())


def what_it_cost(experiment: ExperimentResult, comparison: Comparison | None) -> Section:
    """The metered model calls by model and stage, and the plan beside them."""
    usage = experiment.usage or tuple(row for result in experiment.results for row in result.usage)
    if not usage:
        return Section("cost", "What it cost", [Note("Unknown: no model call of this experiment was metered.")])
    rows = sorted(add_usage(replace(row, trial="") for row in usage), key=_by_stage)
    usd = known_sum(row.usd for row in rows)
    paid = "Paid: USD unknown, because the price of a model is unknown (DREAM_PRICES)." if usd is None else (
        f"Paid: USD {_usd(usd)}."
    )  # fmt: skip
    checks = any(row.stage == CHECK_STAGE for row in rows)
    note = f" Stage {CHECK_STAGE!r}: each model was checked before anything else." if checks else ""
    if any(row.estimated_tokens for row in rows):
        note += " Tokens that an endpoint does not report are estimated with DREAM's tokenizer."
    parts = [Text(f"{paid} Cached answers were paid for by an earlier call.{note}"), _usage_table(rows)]
    if experiment.manifest.plan:
        parts.append(_plan_table(plan_against_actual(experiment.manifest.plan, usage)))
    return Section("cost", "What it cost", parts)


def _by_stage(row: UsageRow) -> tuple[int, str]:
    return _STAGES.index(row.stage) if row.stage in _STAGES else len(_STAGES), row.model


_STAGES = (CHECK_STAGE, "context", "embed", SIFT_STAGE, "query", "rerank", "answer", "judge", HELD_OUT_STAGE)


def _usage_table(rows: Sequence[UsageRow]) -> Table:
    columns = ("model", "endpoint", "stage", "calls", "from cache", "sent", "retried", "failed", "tokens", "USD")
    cells = [_usage_row(row) for row in rows]
    if len(rows) > 1:
        (total,) = add_usage(replace(row, model="all", endpoint="", stage="") for row in rows)
        cells.append(_usage_row(total))
    return Table("Model calls by model and stage", columns, cells, frozenset(columns[3:]))


def _usage_row(row: UsageRow) -> tuple[str, ...]:
    counts = (f"{n:,}" for n in (row.calls, row.cached, row.sent, row.retried, row.failed))
    return row.model, row.endpoint, row.stage, *counts, _tokens(row), _usd(row.usd)


def _tokens(row: UsageRow) -> str:
    if not row.estimated_tokens:
        return f"{row.tokens:,.0f}"
    part = "" if round(row.estimated_tokens) >= round(row.tokens) else f"{row.estimated_tokens:,.0f} "
    return f"{row.tokens:,.0f} ({part}estimated)"


def _plan_table(table: pandas.DataFrame) -> Table:
    rows = [
        tuple(_usd(value) if "USD" in name else _count(value) for name, value in row.items())
        for row in table.to_dict("records")
    ]
    columns = [str(name) for name in table.columns]
    return Table("Planned and actual, by model and stage", columns, rows, frozenset(columns[2:]))


def _count(value: Any) -> str:
    return value if isinstance(value, str) else "0" if pandas.isna(value) else f"{value:,.0f}"


def _usd(value: Any) -> str:
    """USD with two decimals from 1 USD, else with three significant digits; "unknown" for None and NaN.

    Example:
        >>> _usd(12.3456), _usd(0.00123), _usd(None)
        ('12.35', '0.00123', 'unknown')
    """
    if value is None or pandas.isna(value):
        return UNKNOWN
    return f"{value:,.2f}" if value >= 1 or not value else f"{value:.3g}"


def _numbers(*names: str) -> frozenset[str]:
    return frozenset(names)
