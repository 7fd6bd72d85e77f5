"""`dream demo`: documents, golden questions, trials and a comparison, offline and on the sample documents."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dream import defaults
from dream.cli.compare import print_comparison, write_report
from dream.cli.options import OFFLINE_BANNER
from dream.errors import ConfigurationError
from dream.progress import Reporter, never_silent
from dream.settings import Settings

if TYPE_CHECKING:
    from dream.records import ExperimentResult
    from dream.storage import Storage

ENGINE = "in_process"
REPORT = "report.html"


def demo(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="folder of all data of the demo")
    ] = defaults.DEMO_FOLDER,
    questions: Annotated[
        int, typer.Option(metavar="N", min=1, help="number of golden questions")
    ] = defaults.DEMO_QUESTIONS,
) -> int:
    """Run all steps once, offline, on nine sample documents.

    Documents, golden questions, 12 trials, leaderboard and report. It uses no key, no server and no network, whatever
    the environment and a .env file contain. A second demo in the same folder is a new experiment.
    """
    settings = _settings(folder)
    print(OFFLINE_BANNER.splitlines()[0])
    with never_silent() as reporter:
        _prepare(settings, reporter)
        _golden(questions, settings, reporter)
        experiment = _run(settings, reporter)
        if experiment.stopped:
            return 1
        _compare(experiment, Path(folder) / REPORT, reporter)
    _say_what_next(settings)
    return 1 if any(result.error for result in experiment.results) else 0


def _settings(folder: str) -> Settings:
    """Settings of the offline models and the folder; those of the environment are ignored."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ConfigurationError(f"{folder} is a file: name a folder, such as dream demo {defaults.DEMO_FOLDER}")
    return Settings.from_environment({"DREAM_OFFLINE": "1", "DREAM_HOME": folder})


def _headline(reporter: Reporter, step: int, text: str, command: str) -> None:
    reporter.line(f"\n[{step} of 4] {text}  ({command})")


def _prepare(settings: Settings, reporter: Reporter) -> None:
    from dream.documents.sample_documents import sample_documents
    from dream.storage import open_storage

    _headline(reporter, 1, "The nine sample PDFs are uploaded to storage and loaded", "dream prepare")
    storage = open_storage(settings.documents_uri, settings)
    _check_no_others(storage, sample_documents())

    from dream.documents import load_documents, prepare_documents

    reports = prepare_documents(sample_documents(), storage, show=reporter)
    loaded = load_documents(storage, show=reporter, settings=settings)
    words = sum(len(page.text.split()) for page in loaded.documents)
    new = sum(report.status != "already there" for report in reports)
    reporter.line(f"  {len(reports)} files, {new} of them new: {len(loaded.documents)} pages, {words:,} words")


def _check_no_others(storage: "Storage", samples: Path) -> None:
    """Refuse a folder with other documents: the demo would load them too, and replace their golden questions."""
    ours = {path.name for path in samples.glob("*.pdf")}
    others = [item.key for item in storage.list() if item.key not in ours]
    if others:
        raise ConfigurationError(
            f"{storage.uri()} holds documents that are not those of the demo, such as {others[0]}: "
            f"name another folder, such as dream demo {defaults.DEMO_FOLDER}"
        )


def _golden(questions: int, settings: Settings, reporter: Reporter) -> None:
    _headline(reporter, 2, f"{questions} questions with known answers are generated from them", "dream golden")
    from dream.golden import generate_golden_dataset

    generate_golden_dataset(questions, engine=ENGINE, settings=settings, show=reporter)


def _run(settings: Settings, reporter: Reporter) -> "ExperimentResult":
    _headline(
        reporter, 3, "Each RAG method with each pair of models answers them; the judge scores the answers", "dream run"
    )
    from dream.experiments import run_experiment

    return run_experiment(golden_dataset=defaults.GOLDEN_DATASET, engine=ENGINE, settings=settings, show=reporter)


def _compare(experiment: "ExperimentResult", page: Path, reporter: Reporter) -> None:
    _headline(reporter, 4, "The trials are compared question by question", "dream compare")
    from dream.comparison import compare
    from dream.reporting import report_html

    compared = compare(experiment)
    print_comparison(compared, experiment)
    write_report(page, report_html(experiment, compared))


def _say_what_next(settings: Settings) -> None:
    print(
        "\nLook further:  dream init my-study  a starting project for your own documents and models\n"
        "               every run, question and trace, on http://127.0.0.1:5000:\n"
        f"               mlflow server --workers 1 --backend-store-uri {shlex.quote(settings.mlflow_tracking_uri)}"
    )
