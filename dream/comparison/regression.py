"""Regression check: an experiment against an earlier one (the baseline) on the same questions, for CI pipelines.

The difference is the highest mean of the experiment minus that of the baseline, paired by question. Both trials were
selected for their means, so its 95 % confidence interval is simultaneous over all pairs of one trial of each experiment
(`dream.comparison.intervals`). A regression is shown if the whole interval is below -margin, and ruled out if it is
above. Otherwise the check is inconclusive.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from dream.comparison.intervals import CONFIDENCE, Columns, Interval, columns, critical, intervals, resamples
from dream.comparison.ranking import ranking
from dream.comparison.score_table import ScoreTable, score_table
from dream.defaults import FAILURE_SHARE
from dream.errors import ConfigurationError, DataError, bullets
from dream.records import ExperimentResult, GoldenDataset, Trial

_PAIRS_AT_ONCE = 1000


@dataclass(frozen=True)
class Regression:
    """The best trial of an experiment against the best of a baseline on one metric.

    `difference` is experiment minus baseline: negative values are worse. `margin` is the accepted loss (0 to 1).
    `confidence` is that of the interval, above 0.95 if several metrics are checked together.
    """

    metric: str
    margin: float
    trial: Trial
    baseline_trial: Trial
    difference: Interval
    confidence: float = CONFIDENCE

    @property
    def shown(self) -> bool:
        """True if the trial is significantly worse by more than the margin."""
        return self.difference.high < -self.margin

    @property
    def ruled_out(self) -> bool:
        """True if a loss above the margin is ruled out."""
        return self.difference.low > -self.margin

    @property
    def text(self) -> str:
        """The finding in one sentence."""
        between = self.difference
        interval = f"{between.mean:+.3f} [{between.low:+.3f}, {between.high:+.3f}]"
        numbers = f"{interval} on {between.n} questions, margin {self.margin:g}"
        if self.shown:
            return f"{self.metric}: REGRESSION shown: {numbers}"
        if self.ruled_out:
            return f"{self.metric}: no regression: {numbers}"
        return f"{self.metric}: inconclusive, a loss above the margin is neither shown nor ruled out: {numbers}"


def against_baseline(
    experiment: ExperimentResult,
    baseline: ExperimentResult,
    metric: str,
    margin: float = 0.0,
    failure_share: float = FAILURE_SHARE,
    seed: int = 0,
    n_checks: int = 1,
) -> Regression:
    """Compare the best trial of an experiment with the best of a baseline, on the same questions.

    Args:
        margin: the accepted loss, from 0 to below 1.
        failure_share: a trial with a larger share of missing scores is not ranked (0 to 1).
        seed: the seed of the bootstrap.
        n_checks: the number of metrics that are checked together. The intervals are those of 1 - 0.05 / `n_checks`
            (Bonferroni; Dunn 1961, "Multiple Comparisons among Means"), so that all of them together raise a false
            alarm in at most 2.5 %.

    Raises:
        ConfigurationError: if the two cannot be compared, naming every reason with its remedy.
        DataError: if one of them has no trial that can be ranked.
    """
    if not 0 <= margin < 1:
        raise ConfigurationError(f"margin={margin}: give the loss that you accept, from 0 to below 1, such as 0.03")
    if n_checks < 1:
        raise ConfigurationError(f"n_checks={n_checks}: give the number of metrics that are checked, 1 or more")
    check_comparable(experiment, baseline)
    new, old = score_table(experiment, metric), score_table(baseline, metric)
    both = [question_id for question_id in new.question_ids if question_id in set(old.question_ids)]
    if not both:
        raise DataError(f"{metric} applies to no question of both {experiment.name!r} and {baseline.name!r}")
    new, old = new.of_questions(both), old.of_questions(both)
    firsts, seconds = ranking(new, failure_share), ranking(old, failure_share)
    for name, ranked in ((experiment.name, firsts), (baseline.name, seconds)):
        if not ranked:
            raise DataError(f"no trial of {name!r} can be ranked on {metric}: `dream compare {name}` says why")
    new, old = new.only(firsts), old.only(seconds)
    block = columns(new.values[:, :1] - old.values[:, :1], new.clusters)
    confidence = 1 - (1 - CONFIDENCE) / n_checks
    value = critical(_cross(new, old), resamples(len(block.sums), seed), confidence)
    span = max(new.span, old.span)
    difference = intervals(block, value, (-span, span))[0]
    return Regression(metric, margin, new.results[0].trial, old.results[0].trial, difference, confidence)


def check_comparable(first: ExperimentResult, second: ExperimentResult) -> None:
    """Raise a ConfigurationError with all reasons and remedies if two experiments cannot be paired by question.

    They need the same golden dataset, judge LLM, embedding model of the judge, and version of ragas.
    """
    manifests = (first.manifest, second.manifest)
    problems = _question_problems(*(manifest.golden_dataset for manifest in manifests))
    judges = {
        "judge": [manifest.judge_llm for manifest in manifests],
        "judge's embedding model": [manifest.judge_embed_model for manifest in manifests],
    }
    for role, (here, there) in judges.items():
        if here != there:
            problems.append(
                f"the {role} is {here!r} in one and {there!r} in the other: a different judge changes scores like a "
                f"different quality; run one experiment again with the other's {role}"
            )
    ragas = [manifest.versions.get("ragas") for manifest in manifests]
    if ragas[0] != ragas[1]:
        problems.append(f"ragas is {ragas[0]} in one and {ragas[1]} in the other: run both with the same version")
    if problems:
        headline = f"{first.name!r} and {second.name!r} cannot be compared question by question:"
        raise ConfigurationError(bullets(headline, problems))


def _question_problems(first: GoldenDataset, second: GoldenDataset) -> list[str]:
    mine, theirs = ({question.id: question for question in golden.questions} for golden in (first, second))
    remedy = "run one of them again with the other's golden dataset (`dream run --golden NAME`)"
    if mine.keys() != theirs.keys():
        both, only_one = len(mine.keys() & theirs.keys()), len(mine.keys() ^ theirs.keys())
        return [f"{both} questions are in both, {only_one} in only one: {remedy}"]
    if mine != theirs:
        digests = f"{first.digest[:12]} and {second.digest[:12]}"
        return [f"the golden datasets have the same questions but differ otherwise (digests {digests}): {remedy}"]
    return []


def _cross(new: ScoreTable, old: ScoreTable) -> Iterator[Columns]:
    first, second = (numpy.ravel(axis) for axis in numpy.indices((len(new.results), len(old.results))))
    for start in range(0, len(first), _PAIRS_AT_ONCE):
        block = slice(start, start + _PAIRS_AT_ONCE)
        yield columns(new.values[:, first[block]] - old.values[:, second[block]], new.clusters)
