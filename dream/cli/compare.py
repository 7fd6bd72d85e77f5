"""`dream compare`: the leaderboard, the judge's agreement with human labels, and the regression check."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dream import defaults
from dream.errors import ConfigurationError, DataError, bullets
from dream.settings import Settings
from dream.storage import local_files

if TYPE_CHECKING:
    from dream.comparison.comparison import Comparison
    from dream.comparison.human_agreement import Label
    from dream.records import ExperimentResult

REGRESSION_EXIT_CODE = 1


def compare(
    experiment: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="the experiment's name [default: the one started last]")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"rank by this metric [default: that of the study, else {defaults.DEFAULT_METRIC}, else the first]",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=WEIGHT,...",
            help="rank by a weighted mean of metrics, e.g. answer_correctness=0.7,faithfulness=0.3",
        ),
    ] = None,
    failure_share: Annotated[
        float,
        typer.Option(metavar="SHARE", help="trials with a larger share of missing scores are not ranked"),
    ] = defaults.FAILURE_SHARE,
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="LOSS",
            help="the largest acceptable loss (0 to 1): trials whose mean is further below the best are not "
            "recommended; 1 allows any trial that is statistically indistinguishable from the best [default: the "
            f"study's objective, else {defaults.MARGIN}]",
        ),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="write the report as one HTML file that needs no network"),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="CSV",
            help="human labels, with the columns question_id, trial_id and label (0 to 1): the judge's agreement with "
            "them, and means corrected by them",
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME", help="an earlier experiment on the same questions")
    ] = None,
    fail_on_regression: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC:MARGIN",
            help="exit with 1 if the best trial is worse than the baseline's best by more than the margin, that is, if "
            "the whole 95 % confidence interval of the paired difference is below -MARGIN; an inconclusive result "
            "exits with 0; repeat the option for several metrics",
        ),
    ] = None,
) -> int:
    """Print the leaderboard, and the recommended trial with the reason.

    With a baseline, also compare the best trial with that of an earlier experiment.
    """
    from dream.comparison import comparison
    from dream.comparison.human_agreement import read_labels
    from dream.experiments import latest_experiment, load_experiment
    from dream.reporting import failure_html, report_html

    weighted, margins = parse_weights(weights), parse_margins(fail_on_regression or ())
    if margins and not baseline:
        raise ConfigurationError("--fail-on-regression needs --baseline NAME, the experiment to compare with")
    page = checked_path(html)
    settings = Settings.from_environment()
    result = load_experiment(experiment or latest_experiment(settings), settings)
    metric = metric or comparison.default_metric(result)
    given = read_labels(labels, result, metric) if labels else ()
    try:
        compared = comparison.compare(
            result, metric, weights=weighted, failure_share=failure_share, margin=margin, labels=given
        )
    except DataError as error:
        if page:
            write_report(page, failure_html(result, str(error)))
        raise
    print_comparison(compared, result)
    if given:
        _print_labels(given, compared, result)
    if page:
        write_report(page, report_html(result, compared))
    if not baseline:
        return 0
    earlier = load_experiment(baseline, settings)
    return _regressions(result, earlier, margins or {compared.metric: 0.0}, failure_share, bool(margins))


def checked_path(text: str | None) -> Path | None:
    """The path of the report, None for none; checked before anything is read or computed.

    Raises:
        ConfigurationError: if no file can be written to the path.
    """
    if text is None:
        return None
    path = Path(text)
    if not path.parent.is_dir():
        raise ConfigurationError(f"--html {text}: there is no folder {path.parent}; make it, or name another")
    if path.is_dir():
        raise ConfigurationError(f"--html {text} is a folder; name a file in it, such as {path / 'report.html'}")
    return path


def print_comparison(compared: "Comparison", experiment: "ExperimentResult") -> None:
    """Print the leaderboard, the recommendation, and warnings about the fairness of the comparison."""
    from dream.comparison.fairness import check_fairness
    from dream.comparison.leaderboard_table import comparison_text, leaderboard_of

    print(comparison_text(compared, leaderboard_of(compared, experiment)))
    _print_list("Is the comparison fair?", check_fairness(experiment).warnings)


def write_report(path: Path, html: str) -> None:
    """Write the report, and print its path."""
    local_files.write(path, [html.encode()])
    print(f"\nReport: {path} ({len(html) / 1e6:.1f} MB; opens in any browser, needs no network)")


def parse_weights(text: str | None) -> dict[str, float] | None:
    """The value of `--weights` as a dictionary; None for None.

    Example:
        >>> parse_weights("answer_correctness=0.7,faithfulness=0.3")
        {'answer_correctness': 0.7, 'faithfulness': 0.3}
    """
    return None if text is None else _numbers("--weights", text.split(","), "=", "answer_correctness=0.7")


def parse_margins(texts: Sequence[str]) -> dict[str, float]:
    """The values of `--fail-on-regression` as a dictionary of margins by metric.

    Example:
        >>> parse_margins(["answer_correctness:0.03"])
        {'answer_correctness': 0.03}
    """
    return _numbers("--fail-on-regression", texts, ":", "answer_correctness:0.03")


def _numbers(option: str, texts: Sequence[str], sign: str, example: str) -> dict[str, float]:
    numbers, problems = dict[str, float](), []
    for text in texts:
        name, _, number = text.strip().partition(sign)
        try:
            numbers[name.strip()] = float(number)
        except ValueError:
            problems.append(f"{text!r} is not a metric and a number, such as {example}")
    if problems:
        raise ConfigurationError(bullets(f"{option} cannot be read:", problems))
    return numbers


def _print_list(headline: str, lines: Sequence[str]) -> None:
    if lines:
        print("\n" + bullets(headline, lines))


def _print_labels(labels: "Sequence[Label]", compared: "Comparison", experiment: "ExperimentResult") -> None:
    from dream.comparison.calibration_table import calibration_table
    from dream.comparison.human_agreement import agreement, agreement_text

    if compared.calibration:
        print(f"\nMeans corrected by the labels:\n{calibration_table(compared.calibration)}")
    print("\nAgreement of the judge with the labels:\n" + agreement_text(agreement(experiment, labels)))


def _regressions(
    experiment: "ExperimentResult",
    baseline: "ExperimentResult",
    margins: Mapping[str, float],
    failure_share: float,
    strict: bool,
) -> int:
    """Print the differences to the baseline; returns the exit code, 1 if `strict` and a regression is shown."""
    from dream.comparison.regression import against_baseline

    checks = [
        against_baseline(experiment, baseline, name, margin, failure_share, n_checks=len(margins))
        for name, margin in margins.items()
    ]
    together = f"; all {len(checks)} together raise a false alarm in at most 2.5 %" if len(checks) > 1 else ""
    level = f"{100 * checks[0].confidence:.3g} % intervals{together}"
    _print_list(f"Best trial against the best of {baseline.name!r} ({level}):", [check.text for check in checks])
    return REGRESSION_EXIT_CODE if strict and any(check.shown for check in checks) else 0
