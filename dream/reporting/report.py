"""The report of an experiment: one HTML page that recommends a RAG system, with the evidence and the remaining doubt.

`SECTIONS` lists the sections from top to bottom. To add a section, write a function that takes the experiment
and its comparison and returns an `html_page.Section` (None to leave it out), and append it to that list.
"""

from collections.abc import Callable
from datetime import UTC
from typing import Any

from dream.comparison.comparison import OFFLINE, Comparison, compare, default_metric
from dream.comparison.fairness import check_fairness
from dream.comparison.intervals import Interval
from dream.comparison.ranking import Standing
from dream.comparison.score_table import FACTORS
from dream.errors import DataError
from dream.records import ExperimentResult
from dream.reporting.confirmed import confirmed
from dream.reporting.figures import forest, heat_map, main_effects, parallel_coordinates, pareto
from dream.reporting.html_page import (
    CHOSEN_ROW,
    FAILED_ROW,
    PLAIN,
    TIED_ROW,
    Bullets,
    Choice,
    Facts,
    Note,
    Page,
    Picture,
    Section,
    Table,
    Text,
    render,
)
from dream.reporting.searched import searched
from dream.reporting.sections import (
    UNKNOWN,
    calibrated_means,
    failures,
    left_race,
    metrics_explained,
    parameters,
    sifted_out,
    what_it_cost,
    what_was_run,
    worst_questions,
)

ABOUT_EFFECTS = (
    "A factor matters if two of its levels, or one of them and the average of all trials, are shown to differ. The "
    "figure compares each level with that average."
)
SectionMaker = Callable[[ExperimentResult, Comparison | None], Section | None]


def report_html(experiment: ExperimentResult, comparison: Comparison | None = None) -> str:
    """The report as one HTML file of about 5 MB, mostly plotly's script, that loads nothing from a network.

    Without a `comparison`, trials are compared by answer correctness if it was scored, else by the first metric. If
    no trial can be ranked, the page shows the reason and the failures.
    """
    if comparison is None:
        try:
            comparison = compare(experiment, default_metric(experiment))
        except DataError as error:
            return failure_html(experiment, str(error))
    return render(_page(experiment, [section for make in SECTIONS if (section := make(experiment, comparison))]))


def failure_html(experiment: ExperimentResult, problem: str) -> str:
    """The report of an experiment that cannot be compared: the problem, the failures, the configuration and the
    cost."""
    first = Section("recommendation", "Recommendation", [Note(f"None is possible: {problem}")])
    return render(_page(experiment, [first, *(section for make in SECTIONS if (section := make(experiment, None)))]))


def _page(experiment: ExperimentResult, sections: list[Section]) -> Page:
    manifest = experiment.manifest
    started = f"{manifest.started.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if manifest.started else UNKNOWN
    lead = f"{len(experiment.results)} trials, {len(manifest.questions)} questions, started {started}"
    version = manifest.versions.get("dream-rag", "")
    return Page(
        title=f"{experiment.name}: which RAG system to use",
        lead=lead,
        warning=OFFLINE if manifest.offline else "",
        sections=sections,
        foot=f"Made by DREAM {version}".strip() + ". This file needs no network.",
    )


def _recommendation(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    if comparison is None:
        return None
    chosen, recommendation = comparison.recommended, comparison.recommendation
    trial = chosen.trial
    label = "Use so far" if recommendation.doubt else "Use"
    factors = {title: str(trial.config()[factor]) for factor, title in FACTORS.items() if trial.config()[factor]}
    doubt = [Note(f"Not settled: {recommendation.doubt}")] if recommendation.doubt else []
    why = recommendation.why
    matters = [effect.factor for effect in comparison.effects.factors if effect.matters]
    n_tied = len(comparison.tie_set)
    facts = {
        "why": f"{why[:1].upper()}{why[1:]}.",
        f"mean {comparison.metric}": f"{chosen.mean:.3f} over {_scored(chosen)} questions",
        "shrunken mean": ""
        if chosen.shrunken is None
        else f"{chosen.shrunken:.3f} (corrected for the luck of the selected trial)",
        "on held-out questions": comparison.confirmation.text if comparison.confirmation else "",
        "tied with the best": f"{n_tied} of {len(comparison.ranked)} ranked trials are statistically indistinguishable "
        "from the best, itself included",
        "factors shown to matter": ", ".join(matters) or "none",
        **_running_cost(chosen),
        "parameters": parameters(trial.parameters),
    }
    notes = [Bullets(comparison.notes)] if comparison.notes else []
    parts = [*doubt, Choice(label, factors), Facts({name: text for name, text in facts.items() if text}), *notes]
    return Section("recommendation", "Recommendation", parts)


def _running_cost(standing: Standing) -> dict[str, str]:
    cost = standing.cost
    return {
        "USD per 1,000 questions": UNKNOWN if cost.usd is None else f"{1000 * cost.usd:,.2f}",
        "tokens per question": UNKNOWN if cost.tokens is None else f"{cost.tokens:,.0f}",
        "seconds per answer": UNKNOWN if cost.seconds is None else f"{cost.seconds:.2f}",
    }


def _standings(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    if comparison is None:
        return None
    names = [standing.trial.name for standing in comparison.standings]
    distinct = len(set(names)) == len(names)
    others = [name for name in experiment.manifest.metrics if name != comparison.metric]
    rows = [_standing_row(standing, comparison, others, distinct) for standing in comparison.standings]
    columns, (least, most) = list(rows[0]), comparison.scores.limits
    words = {"#", "verdict", "parameters", *FACTORS.values()}
    table = Table(
        caption=f"All trials by mean {comparison.metric} ({least:g} to {most:g})",
        columns=columns,
        rows=[list(row.values()) for row in rows],
        numbers=frozenset(columns) - words,
        marks=[_mark(standing, comparison) for standing in comparison.standings],
    )
    text = (
        "The difference is to the trial with the highest mean, over the questions that both have a score on. The "
        f"{100 * comparison.confidence:g} % confidence intervals are simultaneous over all trials, so they stay valid "
        "although the best was selected by its score. They come from the same sign flips of whole documents as the set "
        "of trials that may be as good as the best (a model confidence set): a trial is in the set if and only if its "
        "interval includes 0. A question that the RAG system itself failed scores 0. A question that an outage or the "
        "judge failed has no score: it is left out of the means, counts as the worst score in the ranking, and as the "
        "worst and the best score in the intervals."
    )
    costs: Any = pareto(comparison)
    pictures = [Picture("forest", forest(comparison)), *([Picture("pareto", costs)] if costs.data else [])]
    return Section("standings", "Ranking of the trials", [Text(text), table, *pictures])


def _standing_row(standing: Standing, comparison: Comparison, others: list[str], distinct: bool) -> dict[str, str]:
    factors = {title: str(standing.trial.config()[factor]) for factor, title in FACTORS.items()}
    return {
        "#": str(standing.rank or "–"),
        **factors,
        **({} if distinct else {"parameters": standing.parameters}),
        comparison.metric: "–" if standing.mean is None else f"{standing.mean:.3f}",
        **({} if standing.shrunken is None else {"shrunken": f"{standing.shrunken:.3f}"}),
        "verdict": _verdict(standing, comparison),
        "difference": f"{standing.difference.mean:+.3f}" if standing.difference else "",
        f"{100 * comparison.confidence:g} % interval": ""
        if not standing.difference
        else "the same scores"
        if standing.same_scores
        else _span(standing.difference),
        "scored": "–" if standing.trial.id in comparison.ended_early else _scored(standing),
        "failed, scored 0": str(standing.n_failed),
        "missing": str(standing.n_questions - standing.n_scored),
        **_running_cost(standing),
        **{name: "–" if standing.means.get(name) is None else f"{standing.means[name]:.3f}" for name in others},
    }


def _verdict(standing: Standing, comparison: Comparison) -> str:
    if standing.rank is None:
        return f"not ranked: {standing.why_not_ranked}"
    recommended = "recommended, " if standing is comparison.recommended else ""
    if standing is comparison.best:
        return f"{recommended}highest mean"
    return f"{recommended}{'may be as good' if standing.in_set else 'shown to be worse'}"


def _mark(standing: Standing, comparison: Comparison) -> str:
    if standing is comparison.recommended:
        return CHOSEN_ROW
    return FAILED_ROW if standing.rank is None else TIED_ROW if standing.in_set else PLAIN


def _scored(standing: Standing) -> str:
    return f"{standing.n_scored} of {standing.n_questions}"


def _span(interval: Interval) -> str:
    return f"{interval.low:+.3f} to {interval.high:+.3f}"


def _factors(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    if comparison is None:
        return None
    effects = comparison.effects
    parts: list[Any] = []
    if effects.factors:
        rows = [
            (effect.factor, f"{effect.share:.0%}", "yes" if effect.matters else "not shown", effect.better,
             effect.worse, f"{effect.difference.mean:+.3f}", _span(effect.difference))
            for effect in effects.factors
        ]  # fmt: skip
        columns = ("factor", "share of variance", "matters", "better", "worse", "difference", "95 % interval")
        numbers = frozenset({"share of variance", "difference", "95 % interval"})
        parts = [Table("Each factor, and its clearest difference", columns, rows, numbers)]
        parts += [Text(ABOUT_EFFECTS), Picture("main_effects", main_effects(comparison))]
    if effects.interactions:
        rows = [
            (" and ".join(effect.factors), f"{effect.share:.0%}", "yes" if effect.effect.excludes_zero else "not shown",
             " with ".join(effect.levels), f"{effect.effect.mean:+.3f}", _span(effect.effect))
            for effect in effects.interactions
        ]  # fmt: skip
        columns = ("factors", "share of variance", "matters", "clearest in", "effect", "95 % interval")
        numbers = frozenset({"share of variance", "effect", "95 % interval"})
        parts.append(Table("Interactions: effects of two levels beyond the sum of both", columns, rows, numbers))
    notes = [Bullets(effects.notes)] if effects.notes else []
    return Section("factors", "Which factor matters", [*parts, *notes])


def _power(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    if comparison is None:
        return None
    title, power = "Statistical power", comparison.power
    if power is None:
        needs = (
            "Unknown: this needs at least two ranked trials with different scores on at least five questions, and "
            "differences that are not almost constant."
        )
        return Section("power", title, [Text(needs)])
    smallest = "none" if power.smallest is None else f"{power.smallest:.3f}"
    columns = ["to detect a difference of", "questions"] + ["documents"] * bool(power.documents)
    rows = [
        (f"{difference:.2f}", f"{n:,}", *([f"{power.documents[difference]:,}"] if power.documents else []))
        for difference, n in power.needed.items()
    ]
    table = Table("Questions needed", columns, rows, frozenset(columns[1:]))
    gains = {
        "with twice the questions on the same documents": power.more_questions,
        "with twice the documents and questions": power.more_documents,
    }
    documents = f" from {power.n_documents:,} documents" if power.documents else ""
    facts = {
        "questions asked": f"{power.n_questions:,}{documents}",
        "minimum detectable difference": f"{smallest} (80 % power to leave out a trial that is worse than all others "
        "by that much)",
        **{name: f"{gain:.3f}" for name, gain in gains.items() if gain is not None},
    }
    return Section("power", title, [Facts(facts), table])


def _noise(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    if comparison is None or not comparison.noise:
        return None
    rows = [
        (noise.metric, f"{noise.question:.4f}", f"{noise.answer:.4f}", f"{noise.judge:.4f}",
         f"{noise.judge_share:.0%} ({noise.between[0]:.0%} to {noise.between[1]:.0%})",
         f"{noise.n_questions} questions x {noise.n_trials} trials x {noise.repeats:.1f}")
        for noise in comparison.noise
    ]  # fmt: skip
    columns = ("metric", "question", "answer", "judge", "judge's share of a paired difference", "judged")
    table = Table("Variance components of the scores", columns, rows, frozenset(columns[1:5]))
    return Section("noise", "Judge noise", [*(Text(noise.text) for noise in comparison.noise), table])


def _losses(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    if comparison is None or not comparison.losses:
        return None
    shown = [
        (standing.trial, comparison.losses[standing.trial.id])
        for standing in comparison.ranked
        if standing.trial.id in comparison.losses
    ]
    rows = [
        (trial.name, *(f"{part.mean:.3f} ({_span(part)})" for part in (loss.generation, loss.retrieval, loss.gain)),
         "–" if loss.retrieval_share is None else f"{loss.retrieval_share:.0%}", str(len(loss.questions)))
        for trial, loss in shown
    ]  # fmt: skip
    columns = (
        "trial",
        "lost to generation",
        "lost to retrieval",
        "gained over closed book",
        "retrieval's share",
        "questions",
    )
    table = Table(f"Loss against a perfect {comparison.metric}", columns, rows, frozenset(columns[1:]))
    text = (
        "The same questions were answered without contexts (closed book), from the reference contexts (oracle), and "
        "from the retrieved contexts. The loss of the oracle is due to generation; the additional loss of the trial is "
        "due to retrieval (95 % confidence intervals)."
    )
    return Section("losses", "Loss by retrieval and generation", [Text(text), table])


def _fairness(experiment: ExperimentResult, comparison: Comparison | None) -> Section:
    warnings = check_fairness(experiment).warnings
    fine = Text(
        "Yes: the contexts of all trials have about the same size, without repeated passages, and every factor changes "
        "answers."
    )
    return Section("fairness", "Is the comparison fair?", [Bullets(warnings) if warnings else fine])


def _pictures(experiment: ExperimentResult, comparison: Comparison | None) -> Section | None:
    if comparison is None:
        return None
    parts = [Picture("heat_map", heat_map(comparison))]
    if comparison.metric in experiment.manifest.metrics:
        lines = parallel_coordinates(experiment, comparison.metric)
        parts.append(Picture("parallel_coordinates", lines))
    return Section("pictures", "All scores", parts)


SECTIONS: tuple[SectionMaker, ...] = (
    _recommendation,
    confirmed,
    searched,
    _standings,
    calibrated_means,
    metrics_explained,
    _factors,
    _power,
    _noise,
    _losses,
    _fairness,
    _pictures,
    sifted_out,
    left_race,
    worst_questions,
    failures,
    what_was_run,
    what_it_cost,
)
