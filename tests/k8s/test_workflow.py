"""The steps of the workflow template, run with a `dream` that writes down how it was called."""

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from k8s_objects import objects, rendered

from dream.cli.main import app
from dream.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]


def run_step(tmp_path: Path, step: str, **parameters: str) -> tuple[subprocess.CompletedProcess, list[list[str]]]:
    """One step's script with the parameters' defaults; `dream` and `python` are stand-ins that log and succeed."""
    template = next(one for one in objects(rendered("k8s/overlays/laptop")) if one["kind"] == "WorkflowTemplate")
    container = next(s for s in template["spec"]["templates"] if s["name"] == step)["container"]
    values = {p["name"]: p["value"] for p in template["spec"]["arguments"]["parameters"]} | {
        name.replace("_", "-"): value for name, value in parameters.items()
    }
    fill = lambda text: re.sub(r"\{\{workflow\.(?:parameters\.)?([\w-]+)\}\}", lambda m: values.get(m[1], "wf-1"), text)  # noqa: E731
    variables = {one["name"]: fill(one.get("value", "")) for one in container["env"]}
    log = tmp_path / "log"
    log.write_text("")
    for program, status in (("dream", 0), ("python", parameters.get("python_status", "3"))):
        called = "json.dumps([sys.argv[1:], os.environ.get('DREAM_CACHE_URI', '')])"
        body = f"#!{sys.executable}\nimport json, os, sys\n" + (
            f"open({str(log)!r}, 'a').write({called} + '\\n')\n" if program == "dream" else f"sys.exit({status})\n"
        )
        (tmp_path / program).write_text(body)
        (tmp_path / program).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **variables}
    if repository := parameters.get("git_repository"):  # of the Secret
        environment["DREAM_GIT_REPOSITORY"] = repository
    done = subprocess.run(
        [*container["command"], *container["args"]], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    return done, [json.loads(line) for line in log.read_text().splitlines()]


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_steps_run_one_after_another():
    template = next(one for one in objects(rendered("k8s/overlays/laptop")) if one["kind"] == "WorkflowTemplate")
    tasks = template["spec"]["templates"][0]["dag"]["tasks"]
    assert [task["name"] for task in tasks] == [
        "prepare",
        "plan",
        "confirm",
        "golden",
        "run",
        "compare",
        "check",
        "promote",
    ]
    assert [task.get("dependencies", []) for task in tasks] == [
        [],
        ["prepare"],
        ["plan"],
        ["confirm"],
        ["golden"],
        ["run"],
        ["compare"],
        ["check"],
    ]


def test_with_no_parameter_a_step_uses_the_workflows_name_and_the_defaults(tmp_path: Path):
    done, calls = run_step(tmp_path, "run")
    assert done.returncode == 0, done.stderr
    assert calls == [[["run", "--resume", "wf-1", "--golden", "samples"], ""]]


def test_lists_become_repeated_options_and_fresh_answers_another_cache(tmp_path: Path):
    done, calls = run_step(
        tmp_path, "run", experiment="mine", llms="a@x b", metrics="faithfulness", fresh_answers="yes"
    )
    assert done.returncode == 0, done.stderr
    flags = ["run", "--resume", "mine", "--golden", "samples", "--llm", "a@x", "--llm", "b", "--metric", "faithfulness"]
    assert calls == [[flags, "s3://dream-cache/fresh/mine"]]


def test_the_winner_is_written_for_review_only_when_it_is_asked_for(tmp_path: Path):
    template = next(one for one in objects(rendered("k8s/overlays/laptop")) if one["kind"] == "WorkflowTemplate")
    (task,) = (each for each in template["spec"]["templates"][0]["dag"]["tasks"] if each["name"] == "promote")
    (parameter,) = (each for each in template["spec"]["arguments"]["parameters"] if each["name"] == "promote")
    assert (parameter["value"], task["when"]) == ("no", "'{{workflow.parameters.promote}}' == 'yes'")
    (step,) = (each for each in template["spec"]["templates"] if each["name"] == "promote")
    _, [[flags, _]] = run_step(tmp_path, "promote", experiment="mine", rank_by="faithfulness")
    (artifact,) = step["outputs"]["artifacts"]
    assert flags == ["export", "mine", "--metric", "faithfulness", "--output", artifact["path"]]


def test_the_winner_is_proposed_to_the_repository_of_a_secret_of_the_last_step_alone(tmp_path: Path):
    template = next(one for one in objects(rendered("k8s/overlays/laptop")) if one["kind"] == "WorkflowTemplate")
    (step,) = (each for each in template["spec"]["templates"] if each["name"] == "promote")
    (artifact,) = step["outputs"]["artifacts"]
    readers = [each["name"] for each in template["spec"]["templates"] if "dream-git" in json.dumps(each)]
    assert readers == ["promote"]
    assert "git" not in json.dumps([each["name"] for each in template["spec"]["arguments"]["parameters"]])
    _, calls = run_step(tmp_path, "promote", experiment="mine", git_repository="https://git.example/ours.git")
    assert [flags for flags, _ in calls][1:] == [["promote", artifact["path"]]]


@pytest.mark.parametrize("step", ["plan", "run"])
def test_repeats_and_baselines_are_planned_as_they_are_run(tmp_path: Path, step: str):
    done, [[flags, _]] = run_step(tmp_path, step, judge_repeats="3", baselines="yes", python_status="0")
    assert done.returncode == 0, done.stderr
    assert flags[-3:] == ["--judge-repeats", "3", "--baselines"]
    assert run_step(tmp_path, step, python_status="0")[1][0][0][-2:] == ["--golden", "samples"]


def test_nothing_is_spent_before_the_plan_is_confirmed():
    template = next(one for one in objects(rendered("k8s/overlays/laptop")) if one["kind"] == "WorkflowTemplate")
    steps = {step["name"]: step for step in template["spec"]["templates"]}
    tasks = {task["name"]: task for task in steps["dream"]["dag"]["tasks"]}
    assert steps["confirm"]["suspend"] == {}
    assert next(p for p in template["spec"]["arguments"]["parameters"] if p["name"] == "confirm")["value"] == "yes"
    before, waiting = set(), ["confirm"]
    while waiting:
        waiting = [name for task in waiting for name in tasks[task].get("dependencies", [])]
        before |= set(waiting)
    assert before == {"prepare", "plan"}
    spends = re.compile(r"^ *(\d\) )?dream (golden(?! --plan)|run|compare .*judge)", re.MULTILINE)
    assert {
        name for name, step in steps.items() if spends.search("".join(step.get("container", {}).get("args", [])))
    } == {
        "golden",
        "run",
    }
    nightly = next(one for one in objects(rendered("k8s/overlays/laptop")) if one["kind"] == "CronWorkflow")
    given = {p["name"]: p["value"] for p in nightly["spec"]["workflowSpec"]["arguments"]["parameters"]}
    assert given["confirm"] == "no"


def test_questions_and_trials_are_planned_before_the_questions_are_made(tmp_path: Path):
    done, [golden, plan] = run_step(tmp_path, "plan", golden="g", questions="7", python_status="3")
    assert done.returncode == 0, done.stderr
    assert golden[0] == ["golden", "--plan", "--questions", "7", "--name", "g"]
    assert plan[0] == ["plan", "--golden", "/tmp/planned.csv"]
    table = read_table(Path("/tmp/planned.csv"))
    assert len(table) == 7
    assert all(row["question"] and row["ground_truth"] for row in table)
    assert run_step(tmp_path, "plan", golden="g", python_status="1")[0].returncode == 1


def test_a_step_is_tried_again_however_long_it_took():
    """`maxDuration` counts from the first attempt: a long step would never be tried again. `cap` bounds the waits."""
    template = next(one for one in objects(rendered("k8s/overlays/laptop")) if one["kind"] == "WorkflowTemplate")
    retries = {s["name"]: s["retryStrategy"]["backoff"] for s in template["spec"]["templates"] if "retryStrategy" in s}
    assert set(retries) == {"prepare", "plan", "golden", "run", "compare", "promote"}
    assert all(set(backoff) == {"duration", "factor", "cap"} for backoff in retries.values())


def test_what_a_step_has_said_outlives_its_pod():
    template = next(one for one in objects(rendered("k8s/overlays/laptop")) if one["kind"] == "WorkflowTemplate")
    assert template["spec"]["archiveLogs"] is True


def test_a_missing_golden_dataset_is_made_an_existing_one_kept_and_an_unreadable_one_never_replaced(tmp_path: Path):
    made = [[["golden", "--questions", "7", "--name", "g"], ""]]
    assert run_step(tmp_path, "golden", golden="g", questions="7", python_status="3")[1] == made
    assert run_step(tmp_path, "golden", golden="g", python_status="0")[1] == []
    done, calls = run_step(tmp_path, "golden", golden="g", python_status="1")
    assert (done.returncode, calls) == (1, [])


def test_documents_are_a_folder_of_their_bucket_or_a_whole_address(tmp_path: Path):
    """Asked through a step that says where they are."""
    say = lambda **given: run_step(tmp_path, "prepare", sources="", **given)[0].stdout.split()[-1]  # noqa: E731
    assert say(documents="contracts") == "s3://documents/contracts"
    assert say(documents="s3://mine/contracts") == "s3://mine/contracts"


def test_sources_are_optional(tmp_path: Path):
    assert run_step(tmp_path, "prepare", sources="")[1] == []
    assert run_step(tmp_path, "prepare", sources="https://a/b https://c/d")[1] == [
        [["prepare", "https://a/b", "https://c/d"], ""]
    ]


@pytest.mark.parametrize("step", ["prepare", "golden", "plan", "run", "compare", "check"])
def test_a_parameter_is_never_read_as_shell(tmp_path: Path, step: str):
    evil = "$(touch owned);touch owned;`touch owned`"
    names = ("experiment", "sources", "golden", "questions", "query_engines", "llms", "rank_by", "baseline", "margin")
    names += ("judge_repeats", "baselines")
    run_step(tmp_path, step, **dict.fromkeys(names, evil))
    assert not (tmp_path / "owned").exists()


def test_the_choices_and_the_command_line_are_those_of_dream():
    template = yaml.safe_load((ROOT / "k8s/workflows/template.yaml").read_text(encoding="utf-8"))
    parameters = {one["name"]: one for one in template["spec"]["arguments"]["parameters"]}
    assert set(parameters["rank-by"]["enum"]) == set(METRICS)
    step = next(one for one in template["spec"]["templates"] if one["name"] == "compare")
    (line,) = [line for line in step["container"]["args"][0].splitlines() if line.startswith("dream compare")]
    options = typer.main.get_group(app).commands["compare"].make_context("compare", shlex.split(line)[2:]).params
    assert options["html"] == step["outputs"]["artifacts"][0]["path"]
