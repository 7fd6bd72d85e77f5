"""`dream compare`: the leaderboard, people's labels, and the check of a pipeline against a baseline."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from dream.errors import ConfigurationError, DataError, bullets
from dream.records import ExperimentResult
from dream.settings import Settings
from dream.storage import local_files

REGRESSION_EXIT_CODE = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `dream compare`."""
    parser.add_argument("experiment", nargs="?", help="its name (default: the one started last)")
    parser.add_argument("--metric", default="answer_correctness", help="rank by this (default answer_correctness)")
    parser.add_argument(
        "--weights", metavar="M=W,...", help="rank by a weighted mean of metrics, e.g. faithfulness=0.3,.."
    )
    parser.add_argument(
        "--failure-share",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="trials with a larger share of missing scores are not ranked (default 0.1)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=0.05,
        metavar="LOSS",
        help="the loss that would not matter: trials that measured further below the best are not recommended, however "
        "few the questions (default 0.05; 1 allows any of those that cannot be told apart from the best)",
    )
    parser.add_argument("--html", metavar="FILE", help="write the whole report as one HTML file that needs no network")
    parser.add_argument("--labels", metavar="CSV", help="people's labels: question_id, trial_id, label (0 to 1)")
    parser.add_argument("--baseline", metavar="NAME", help="an earlier experiment on the same questions")
    parser.add_argument(
        "--fail-on-regression",
        action="append",
        default=[],
        metavar="METRIC:MARGIN",
        help="exit with 1 if the best trial is shown to be worse than the baseline's best by more than the margin: the "
        "whole 95 %% interval of the paired difference lies below it; where the data cannot tell, exit with 0; repeat",
    )


def run(options: argparse.Namespace) -> int:
    """Print the comparison; the exit code is 0, or 1 where a regression is shown."""
    from dream.comparison.comparison import compare, comparison_text, leaderboard_of
    from dream.comparison.fairness import check_fairness
    from dream.experiments.store import latest_experiment, load_experiment
    from dream.reporting.report import failure_html, report_html

    weights, margins = parse_weights(options.weights), parse_margins(options.fail_on_regression)
    if margins and not options.baseline:
        raise ConfigurationError("--fail-on-regression needs --baseline NAME, the experiment to compare with")
    page = checked_path(options.html)
    settings = Settings.from_environment()
    experiment = load_experiment(options.experiment or latest_experiment(settings), settings)
    try:
        found = compare(
            experiment, options.metric, weights=weights, failure_share=options.failure_share, margin=options.margin
        )
    except DataError as error:
        if page:
            _write(page, failure_html(experiment, str(error)))
        raise
    print(comparison_text(found, leaderboard_of(found, experiment)))
    _print_list("Is the comparison fair?", check_fairness(experiment).warnings)
    if options.labels:
        _print_labels(options.labels, experiment)
    if page:
        _write(page, report_html(experiment, found))
    if not options.baseline:
        return 0
    baseline = load_experiment(options.baseline, settings)
    return _regressions(experiment, baseline, margins or {options.metric: 0.0}, options.failure_share, bool(margins))


def checked_path(text: str | None) -> Path | None:
    """Where the report goes, refused before anything is read or computed if it cannot go there."""
    if text is None:
        return None
    path = Path(text)
    if not path.parent.is_dir():
        raise ConfigurationError(f"--html {text}: there is no folder {path.parent}; make it, or name another")
    if path.is_dir():
        raise ConfigurationError(f"--html {text} is a folder; name a file in it, such as {path / 'report.html'}")
    return path


def _write(path: Path, html: str) -> None:
    local_files.write(path, [html.encode()])
    print(f"\nReport: {path} ({len(html) / 1e6:.1f} MB; opens in any browser, needs no network)")


def parse_weights(text: str | None) -> dict[str, float] | None:
    """`a=0.7,b=0.3` as a dictionary; None for nothing.

    Example:
        >>> parse_weights("answer_correctness=0.7,faithfulness=0.3")
        {'answer_correctness': 0.7, 'faithfulness': 0.3}
    """
    return None if text is None else _numbers("--weights", text.split(","), "=", "answer_correctness=0.7")


def parse_margins(texts: Sequence[str]) -> dict[str, float]:
    """`["a:0.03"]` as a dictionary.

    Example:
        >>> parse_margins(["answer_correctness:0.03"])
        {'answer_correctness': 0.03}
    """
    return _numbers("--fail-on-regression", texts, ":", "answer_correctness:0.03")


def _numbers(option: str, texts: Sequence[str], sign: str, example: str) -> dict[str, float]:
    found, problems = dict[str, float](), []
    for text in texts:
        name, _, number = text.strip().partition(sign)
        try:
            found[name.strip()] = float(number)
        except ValueError:
            problems.append(f"{text!r} is not a metric and a number, such as {example}")
    if problems:
        raise ConfigurationError(bullets(f"{option} cannot be read:", problems))
    return found


def _print_list(headline: str, lines: Sequence[str]) -> None:
    if lines:
        print("\n" + bullets(headline, lines))


def _print_labels(path: str, experiment: ExperimentResult) -> None:
    from dream.comparison.human_agreement import agreement, agreement_text, read_labels

    print(
        "\nAgreement of the judge with the labels:\n"
        + agreement_text(agreement(experiment, read_labels(path, experiment)))
    )


def _regressions(
    experiment: ExperimentResult,
    baseline: ExperimentResult,
    margins: Mapping[str, float],
    failure_share: float,
    strict: bool,
) -> int:
    """Print each metric's difference to the baseline; 1 if one is a regression and the caller asked to fail on it."""
    from dream.comparison.regression import against_baseline

    found = [against_baseline(experiment, baseline, name, margin, failure_share) for name, margin in margins.items()]
    _print_list(f"Best trial against the best of {baseline.name!r} (95 % intervals):", [one.text for one in found])
    return REGRESSION_EXIT_CODE if strict and any(one.shown for one in found) else 0
