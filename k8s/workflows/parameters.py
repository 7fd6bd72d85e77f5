"""Checks the parameters of the workflow, before anything is spent.

They are read from the environment, as each step has them; PARAMETERS has all that were given. Exit code 0: they are
right, and the golden dataset exists; 3: they are right, and it has to be made; 1: what is wrong with each of them.
"""

import json
import os
import re
import sys
from difflib import get_close_matches

from dream import Settings
from dream.errors import DreamError
from dream.experiments import load_experiment
from dream.golden import load_golden_dataset
from dream.metrics import METRICS, is_metric
from dream.storage import open_storage

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
MISSING = 3
KNOWN = (
    "experiment",
    "sources",
    "documents",
    "golden",
    "questions",
    "query-engines",
    "llms",
    "embed-models",
    "metrics",
    "judge-repeats",
    "baselines",
    "rank-by",
    "baseline",
    "margin",
    "fresh-answers",
    "promote",
    "confirm",
)


def main() -> None:
    given = os.environ
    problems = unknown_problems(given["PARAMETERS"])
    problems += [*name_problems(given["EXPERIMENT"], given["GOLDEN"]), *number_problems(given)]
    problems += metric_problems(given["METRICS"].split(), given["RANK_BY"])
    there = False
    try:
        settings = Settings.from_environment()
        there = open_storage(settings.golden_datasets_uri, settings).exists(f"{given['GOLDEN']}.csv")
        problems += baseline_problems(given["BASELINE"], given["GOLDEN"] if there else "", given["RANK_BY"], settings)
    except DreamError as error:
        problems.append(str(error))
    if problems:
        sys.exit("The workflow's parameters cannot be used:\n" + "\n".join(f"  - {one}" for one in problems))
    sys.exit(0 if there else MISSING)


def unknown_problems(parameters: str) -> list[str]:
    """Argo takes a parameter that the template does not have, and ignores it."""
    problems = []
    for name in (one["name"] for one in json.loads(parameters)):
        if name not in KNOWN:
            meant = get_close_matches(name, KNOWN, 1)
            problems.append(f"there is no parameter {name!r}: " + (f"{meant[0]!r}?" if meant else ", ".join(KNOWN)))
    return problems


def name_problems(experiment: str, golden: str) -> list[str]:
    rule = "use letters, digits, '.', '_' and '-', with a letter or a digit first"
    given = {"experiment": experiment, "golden": golden}
    return [f"{name} = {value!r}: {rule}" for name, value in given.items() if not re.fullmatch(NAME, value)]


def number_problems(given: "os._Environ[str]") -> list[str]:
    problems = []
    if not re.fullmatch(r"[1-9]\d*", given["QUESTIONS"]):
        problems.append(f"questions = {given['QUESTIONS']!r}: give a whole number from 1 on, such as 30")
    if not re.fullmatch(r"0?\.\d+|0", given["MARGIN"]):
        problems.append(f"margin = {given['MARGIN']!r}: give a number from 0 to below 1, such as 0.02")
    return problems


def metric_problems(metrics: list[str], rank_by: str) -> list[str]:
    """The trials are ranked by a metric that is scored; no metrics are all those of ragas."""
    problems = [f"metrics: {one!r} is unknown; there are {', '.join(METRICS)}" for one in metrics if not is_metric(one)]
    scored = metrics or list(METRICS)
    if rank_by not in scored:
        problems.append(f"rank-by = {rank_by!r} is not among the metrics that are scored: {', '.join(scored)}")
    return problems


def baseline_problems(baseline: str, golden: str, rank_by: str, settings: Settings) -> list[str]:
    """The baseline exists, has that metric, and its questions are those of the golden dataset ("": not made yet)."""
    if not baseline:
        return []
    manifest = load_experiment(baseline, settings).manifest
    problems = []
    if rank_by not in manifest.metrics:
        scored = ", ".join(manifest.metrics)
        problems.append(f"baseline = {baseline!r} has no scores of {rank_by}, by which is ranked; it has {scored}")
    asked = {one.question for one in load_golden_dataset(golden, settings).questions} if golden else set()
    if asked != {one.question for one in manifest.golden_dataset.questions}:
        problems.append(
            f"baseline = {baseline!r} was asked other questions than those of golden = {os.environ['GOLDEN']!r}: "
            "name the dataset that it was asked, or no baseline"
        )
    return problems


if __name__ == "__main__":
    main()
