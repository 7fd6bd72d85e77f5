"""`dream plan`, `dream run` and `dream track`: experiments counted, run and logged."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dream import defaults
from dream.cli import options
from dream.cli.parameters import parameters_of
from dream.errors import ConfigurationError
from dream.settings import Settings, log_place, safe_uri

if TYPE_CHECKING:
    from dream.rag import SearchSpace


def plan(
    study: options.StudyFile = None,
    golden: options.Golden = None,
    documents: options.Documents = None,
    query_engine: options.QueryEngines = None,
    llm: options.Llms = None,
    embed_model: options.EmbedModels = None,
    parameters: options.Parameters = None,
    metric: options.Metrics = None,
    strictness: options.Strictness = None,
    judge_repeats: options.JudgeRepeats = defaults.JUDGE_REPEATS,
    judge_repeat_questions: options.JudgeRepeatQuestions = defaults.JUDGE_REPEAT_QUESTIONS,
    baselines: options.Baselines = False,
    search: options.SearchBy = None,
    trials: options.SearchTrials = None,
    seed: options.SearchSeed = None,
    sift: options.SiftFlag = False,
    sift_metric: options.SiftMetric = None,
    hold_out: options.HoldOutShare = None,
    race: options.RaceFlag = False,
    pilot: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="an earlier experiment, from which the smallest detectable difference is estimated [default: the "
            "latest on the same questions]",
        ),
    ] = None,
) -> int:
    """Count the model calls, tokens and USD of a run; nothing is sent.

    Give it the study file or the options of the run.
    """
    from dream import experiments
    from dream.golden import has_golden_dataset, load_golden_dataset, plan_golden_dataset

    settings = Settings.from_environment()
    options.show_banner(settings)
    asked, golden = _asked(
        study, settings, golden=golden, documents=documents, query_engine=query_engine, llm=llm,
        embed_model=embed_model, parameters=parameters, metric=metric, strictness=strictness,
        judge_repeats=judge_repeats, judge_repeat_questions=judge_repeat_questions, baselines=baselines,
        search=_search(by=search, trials=trials, seed=seed), sift=sift_metric or sift,
        hold_out=hold_out, race=race,
    )  # fmt: skip
    if golden is None and not has_golden_dataset(defaults.GOLDEN_DATASET, settings):
        print(
            "There are no golden questions yet. Generate them with `dream golden`; then this command counts the trials "
            "too.\n"
        )
        print(plan_golden_dataset(documents_uri=documents, settings=settings))
        return 0
    dataset = load_golden_dataset(golden or defaults.GOLDEN_DATASET, settings)
    planned = experiments.plan(**asked, settings=settings)
    print(planned)
    print(experiments.planned_power(dataset, pilot, settings, planned.n_questions).text)
    return 0


def run(
    study: options.StudyFile = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="the experiment's name [default: experiment-<date>-<time>-<4 digits>]"),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="continue the experiment of this name, or start it: finished questions are neither asked nor paid for "
            "again",
        ),
    ] = None,
    restart: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRIAL",
            help="with --resume, continue a trial that was stopped with `dream stop`, by its id or name; repeat for "
            "several",
        ),
    ] = None,
    golden: options.Golden = None,
    documents: options.Documents = None,
    query_engine: options.QueryEngines = None,
    llm: options.Llms = None,
    embed_model: options.EmbedModels = None,
    parameters: options.Parameters = None,
    metric: options.Metrics = None,
    strictness: options.Strictness = None,
    judge_repeats: options.JudgeRepeats = defaults.JUDGE_REPEATS,
    judge_repeat_questions: options.JudgeRepeatQuestions = defaults.JUDGE_REPEAT_QUESTIONS,
    baselines: options.Baselines = False,
    search: options.SearchBy = None,
    trials: options.SearchTrials = None,
    seed: options.SearchSeed = None,
    sift: options.SiftFlag = False,
    sift_metric: options.SiftMetric = None,
    hold_out: options.HoldOutShare = None,
    race: options.RaceFlag = False,
    concurrent_trials: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="number of concurrent trials [default: in this process up to 16, depending on the number of "
            "questions; on Ray one per CPU, at least two]",
        ),
    ] = None,
    engine: options.EngineName = None,
    call_log: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="log each model call as a JSON line, in a file such as calls.jsonl, a folder or s3://bucket/prefix "
            "[default: DREAM_CALL_LOG]",
        ),
    ] = None,
) -> int:
    """Run every trial of a study file or of the options.

    The trials are every combination of RAG method, LLM, embedding model and parameter value. All answer the same
    questions and are scored by the same judge.

    In a terminal, a table shows the trials while they run. A trial's mean covers its finished questions. The 95 %
    interval estimates its mean over further questions of this kind, and stays valid however often you look. To find out
    whether two trials differ, use `dream compare`. "To come" is the planned minus the billed USD. `dream stop` ends a
    trial early.
    """
    from dream.experiments import run_experiment

    settings = Settings.from_environment()
    if call_log:
        settings = replace(settings, call_log=log_place("--call-log", call_log))
    options.show_banner(settings)
    asked, _ = _asked(
        study, settings, golden=golden, documents=documents, query_engine=query_engine, llm=llm,
        embed_model=embed_model, parameters=parameters, metric=metric, strictness=strictness,
        judge_repeats=judge_repeats, judge_repeat_questions=judge_repeat_questions, baselines=baselines,
        search=_search(by=search, trials=trials, seed=seed), sift=sift_metric or sift,
        hold_out=hold_out, race=race,
    )  # fmt: skip
    experiment = run_experiment(
        **asked,
        name=name,
        resume=resume,
        restart=restart or (),
        max_concurrent_trials=concurrent_trials,
        engine=engine,
        settings=settings,
    )
    if experiment.stopped:
        return 1
    print(f"\nNext: dream compare {experiment.name}")
    return 1 if all(result.error for result in experiment.results) else 0


def stop(
    experiment: Annotated[str, typer.Argument(metavar="NAME", help="the experiment's name")],
    trials: Annotated[
        list[str],
        typer.Argument(metavar="TRIAL...", help="a trial's id, the beginning of the id, or its displayed name"),
    ],
) -> int:
    """Stop trials of a running experiment; the others continue.

    Run it in another terminal, or on any machine with access to the experiment's storage. The trials end within
    seconds. Their finished questions are kept, but they are not ranked.
    """
    from dream.experiments import stop_trial

    stopped = stop_trial(experiment, *trials)
    for trial_id, name in stopped.items():
        print(f"{experiment}: stopping {trial_id} {name}")
    restarts = " ".join(f"--restart {trial_id}" for trial_id in stopped)
    print(
        "The trial ends within seconds and its answers are kept; the others continue.\n"
        f"To continue it later: dream run --resume {experiment} {restarts}"
    )
    return 0


def track(experiment: Annotated[str, typer.Argument(metavar="NAME", help="the experiment's name")]) -> int:
    """Log an experiment to MLflow again; nothing is logged twice.

    For experiments that ran while MLflow was down.
    """
    from dream.experiments import load_experiment
    from dream.tracking import tracker

    settings = Settings.from_environment()
    run_id = tracker.track(load_experiment(experiment, settings), settings)
    print(f"{experiment}: MLflow run {run_id} at {safe_uri(settings.mlflow_tracking_uri)}")
    return 0


def _asked(study: str | None, settings: Settings, **given: Any) -> tuple[dict[str, Any], str | None]:
    """The arguments of `run_experiment` from a study file or the options, and the name of the golden dataset.

    Raises:
        ConfigurationError: for options given together with a study file.
    """
    if study is None:
        return _by_options(settings, **given), given["golden"]
    from dream.experiments import read_study

    usual = {"judge_repeats": defaults.JUDGE_REPEATS, "judge_repeat_questions": defaults.JUDGE_REPEAT_QUESTIONS}
    beside = [_OPTIONS.get(name, name) for name, value in given.items() if value and value != usual.get(name)]
    if beside:
        options_text = ", ".join(f"--{name.replace('_', '-')}" for name in beside)
        raise ConfigurationError(f"{options_text} cannot be combined with {study}: write it into the file")
    read = read_study(study, settings)
    return {"spec": read}, read.options.get("golden_dataset")


def _search(**given: Any) -> dict[str, Any] | None:
    """The given options of a search; None if there are none."""
    return {name: value for name, value in given.items() if value is not None} or None


# Options whose name is not that of their argument.
_OPTIONS = {"parameters": "set"}


def _by_options(settings: Settings, **given: Any) -> dict[str, Any]:
    """The arguments of `run_experiment`. An option that is not given leaves a resumed experiment unchanged."""
    space = search_space_of(given["query_engine"], given["llm"], given["embed_model"], given["parameters"], settings)
    named = {"golden_dataset": "golden", "documents_uri": "documents", "metrics": "metric"}
    named |= {"strictness": "strictness", "search": "search", "hold_out": "hold_out"}
    own = {argument: given[option] for argument, option in named.items() if given[option] is not None}
    repeats = {name: given[name] for name in ("judge_repeats", "judge_repeat_questions", "baselines", "sift", "race")}
    return {"spec": space, **own, **repeats}


def search_space_of(
    query_engines: Sequence[str] | None,
    llms: Sequence[str] | None,
    embed_models: Sequence[str] | None,
    assignments: Sequence[str] | None,
    settings: Settings,
) -> "SearchSpace | None":
    """The search space of the options; None if none is given, which leaves a resumed experiment unchanged.

    Raises:
        ConfigurationError: naming every mistake in the `--set` options at once.
    """
    from dream.rag import SearchSpace, default_search_space
    from dream.rag.methods import RAG_METHODS, imported_method

    if not (query_engines or llms or embed_models or assignments):
        return None
    default = default_search_space(settings)
    chosen = [imported_method(name) for name in query_engines or default.query_engines]
    parameters = parameters_of(assignments or (), chosen, {name: m.all_defaults for name, m in RAG_METHODS.items()})
    return SearchSpace(chosen, llms or default.llms, embed_models or default.embed_models, parameters)
