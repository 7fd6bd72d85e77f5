"""The `dream` command: the same steps as the notebooks, for pipelines."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dream.cli import compare
from dream.errors import DreamError
from dream.settings import Settings, safe_uri

if TYPE_CHECKING:
    from dream.rag.search_space import SearchSpace

OFFLINE_BANNER = (
    "Offline models are in use: they show how DREAM works. Their scores say nothing about a real LLM.\n"
    "Set OPENAI_API_KEY, OPENAI_BASE_URL or DREAM_ENDPOINT_<NAME>_BASE_URL to use real ones.\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 when it did what it was asked, else 1, or 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except DreamError as error:
        print(f"dream {options.name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"dream {options.name}: stopped; what was finished is in storage", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dream",
        description="Find out which RAG system to use: documents -> golden questions -> trials on Ray -> comparison.",
        epilog="A first run, with no key and no server: dream prepare FOLDER; dream golden; dream run; dream compare. "
        "Settings come from environment variables or a .env file; `dream doctor` shows and checks them.",
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for add in (
        _add_prepare,
        _add_golden,
        _add_plan,
        _add_run,
        _add_compare,
        _add_track,
        _add_cache,
        _add_doctor,
        _add_offline,
    ):
        add(commands)
    return parser


def _command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, run: object, text: str):
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def _add_prepare(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Put documents into storage and report which of them can be read."
    parser = _command(commands, "prepare", _prepare, text)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a folder, a file or an http(s) URL")


def _add_golden(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Generate golden questions from the documents in storage, or check and save your own."
    parser = _command(commands, "golden", _golden, text)
    parser.add_argument("--questions", type=int, default=30, metavar="N", help="how many to generate (default 30)")
    parser.add_argument("--name", default="golden", help="the dataset's name in storage (default golden)")
    parser.add_argument("--seed", type=int, default=0, help="of the generator's random choices (default 0)")
    parser.add_argument("--from", dest="csv", metavar="CSV", help="your own, with columns question and ground_truth")


def _add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Run every combination of RAG method, LLM and embedding model on the golden questions."
    parser = _command(commands, "run", _run, text)
    parser.add_argument("--name", help="the experiment's name (default experiment-<date>-<time>)")
    parser.add_argument(
        "--resume",
        metavar="NAME",
        help="go on with the experiment of this name, or start it: what is finished is neither asked nor paid again",
    )
    _add_space(parser)
    parser.add_argument(
        "--concurrent-trials", type=int, metavar="N", help="default: one for each CPU (a single machine: one more)"
    )


def _add_plan(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Count the model calls, tokens and USD that `dream run` with the same options would take; nothing is sent."
    parser = _command(commands, "plan", _plan, text)
    _add_space(parser)
    about = "an earlier experiment that tells what so many questions can show (default: the latest on them)"
    parser.add_argument("--pilot", metavar="NAME", help=about)


def _add_cache(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Show what the cache of model answers holds, or empty it: --empty, all or what the other options name."
    parser = _command(commands, "cache", _cache, text)
    parser.add_argument("--empty", action="store_true", help="delete; answers are paid again when they are needed")
    parser.add_argument("--older-than-days", type=float, default=0, metavar="DAYS", help="only what is older")
    parser.add_argument("--model", default="", metavar="TEXT", help="only models whose name holds this text")


def _add_space(parser: argparse.ArgumentParser) -> None:
    """What is run, the same for planning and running."""
    parser.add_argument("--golden", help="a golden dataset's name, or a CSV file (default golden)")
    parser.add_argument("--query-engine", action="append", metavar="ID", help="a RAG method; repeat for several")
    parser.add_argument("--llm", action="append", metavar="ID", help="model, model@endpoint or offline/model; repeat")
    parser.add_argument("--embed-model", action="append", metavar="ID", help="an embedding model; repeat for several")
    parser.add_argument("--metric", action="append", metavar="NAME", help="a ragas metric; repeat (default all six)")
    parser.add_argument(
        "--judge-repeats",
        type=int,
        default=1,
        metavar="N",
        help="judge the answers to some questions N times, to learn how much of the differences is the judge; with "
        "--resume an experiment that is finished is judged again (default 1: once)",
    )
    slice_size = "to how many questions, the same for all trials (default 10)"
    parser.add_argument("--judge-repeat-questions", type=int, default=10, metavar="N", help=slice_size)
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="let each LLM also answer without context and with the reference contexts, to split losses into "
        "retrieval's and generation's; these are not ranked",
    )


def _add_compare(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Print the leaderboard of an experiment, which trial to use and why, or check it against a baseline."
    compare.add_arguments(_command(commands, "compare", compare.run, text))


def _add_track(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Log an experiment to MLflow again, for instance after MLflow was down; nothing is logged twice."
    _command(commands, "track", _track, text).add_argument("experiment", help="its name")


def _add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    _command(commands, "doctor", _doctor, "Check Python, storage, MLflow, Ray and every model; say what to mend.")


def _add_offline(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Serve the offline models over HTTP until Ctrl-C (DREAM starts its own when it needs them)."
    parser = _command(commands, "offline", _offline, text)
    parser.add_argument("--port", type=int, default=8899, help="default 8899; 0 for a free one")


def _prepare(options: argparse.Namespace) -> int:
    from dream.documents.loading import load_documents, prepare_documents
    from dream.storage.objects import open_storage

    settings = Settings.from_environment()
    storage = open_storage(settings.documents_uri, settings)
    failed = False
    for line in prepare_documents(options.sources, storage):
        failed |= line.status == "failed"
        print(line)
    print(f"\nReadable documents in {storage.uri('')}:")
    for line in load_documents(storage).report:
        print(line)
    return 1 if failed else 0


def _golden(options: argparse.Namespace) -> int:
    from dream.golden.dataset import generate_golden_dataset, load_golden_dataset, save_golden_dataset

    settings = Settings.from_environment()
    if options.csv:
        golden = save_golden_dataset(load_golden_dataset(options.csv, settings), options.name, settings)
        print(f"{options.name}: {len(golden.questions)} questions in {golden.uri}")
        return 0
    _banner(settings)
    generate_golden_dataset(options.questions, name=options.name, seed=options.seed, settings=settings)
    return 0


def _run(options: argparse.Namespace) -> int:
    from dream.experiments.run import run_experiment

    settings = Settings.from_environment()
    _banner(settings)
    outcome = run_experiment(
        _space(options, settings),
        name=options.name,
        resume=options.resume,
        golden_dataset=options.golden,
        metrics=options.metric,
        judge_repeats=options.judge_repeats,
        judge_repeat_questions=options.judge_repeat_questions,
        baselines=options.baselines,
        max_concurrent_trials=options.concurrent_trials,
        settings=settings,
    )
    if outcome.stopped:
        return 1
    print(f"\nNext: dream compare {outcome.name}")
    return 1 if all(result.error for result in outcome.results) else 0


def _space(options: argparse.Namespace, settings: Settings) -> "SearchSpace | None":
    """The search space that the options name; None where they name nothing."""
    from dream.rag.search_space import SearchSpace, default_search_space

    if not (options.query_engine or options.llm or options.embed_model):
        return None
    default = default_search_space(settings)
    return SearchSpace(
        options.query_engine or default.query_engines,
        options.llm or default.llms,
        options.embed_model or default.embed_models,
    )


def _plan(options: argparse.Namespace) -> int:
    from dream.experiments.pilot import planned_power
    from dream.experiments.planning import plan
    from dream.golden.dataset import load_golden_dataset
    from dream.metrics import METRICS

    settings = Settings.from_environment()
    _banner(settings)
    golden = load_golden_dataset(options.golden or "golden", settings)
    planned = plan(
        _space(options, settings),
        golden_dataset=golden,
        metrics=options.metric or METRICS,
        judge_repeats=options.judge_repeats,
        judge_repeat_questions=options.judge_repeat_questions,
        baselines=options.baselines,
        settings=settings,
    )
    print(planned)
    print(planned_power(golden, options.pilot, settings).text)
    return 0


def _cache(options: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from dream.models.answer_cache import contents, empty
    from dream.storage.objects import open_storage

    settings = Settings.from_environment()
    storage = open_storage(settings.cache_uri, settings)
    if options.empty:
        freed = empty(storage, older_than_days=options.older_than_days, model=options.model)
        print(f"{storage.uri()}: {freed / 1e6:,.1f} MB freed")
        return 0
    models = [one for one in contents(storage) if options.model in one.model]
    print(f"{storage.uri()}: {sum(one.bytes for one in models) / 1e6:,.1f} MB")
    for one in models:
        days = (f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d}" for when in (one.oldest, one.newest))
        print(f"  {one.model:<50} {one.entries:>8,} entries {one.bytes / 1e6:>9,.1f} MB  {' to '.join(days)}")
    return 0


def _track(options: argparse.Namespace) -> int:
    from dream.experiments.store import load_experiment
    from dream.tracking.tracker import track

    settings = Settings.from_environment()
    run_id = track(load_experiment(options.experiment, settings), settings)
    print(f"{options.experiment}: MLflow run {run_id} at {safe_uri(settings.mlflow_tracking_uri)}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from dream.cli.doctor import examine

    healthy = True
    for finding in examine(Settings.from_environment()):
        print(f"{'ok  ' if finding.problem is None else 'BAD '} {finding.part:<16} {finding.detail}")
        if finding.problem is not None:
            healthy = False
            print("     " + finding.problem.replace("\n", "\n     "))
    return 0 if healthy else 1


def _offline(options: argparse.Namespace) -> int:
    from dream.offline.__main__ import main as serve

    print(OFFLINE_BANNER)
    return serve(["--port", str(options.port)]) or 0


def _banner(settings: Settings) -> None:
    if settings.offline:
        print(OFFLINE_BANNER)


if __name__ == "__main__":
    sys.exit(main())
