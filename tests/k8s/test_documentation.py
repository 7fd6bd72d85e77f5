"""What manifests, scripts, INSTALL.md and CI say of each other is so."""

import re
import shlex
import subprocess
import sys

import pytest
import typer
import yaml
from k8s_objects import BUILT, K8S, REPOSITORY, objects, overlay, rendered

from dream.cli.main import app

CI = sorted((REPOSITORY / ".github/workflows").glob("*.yaml"))


def test_every_secret_that_a_manifest_names_is_in_the_install_page():
    page = (REPOSITORY / "INSTALL.md").read_text()
    named = {
        one for folder in BUILT for one in re.findall(r"secretKeyRef:\n\s+key: \S+\n\s+name: (\S+)", rendered(folder))
    }
    named |= {one for folder in BUILT for one in re.findall(r"secretRef:\n\s+name: (\S+)", rendered(folder))}
    assert {name for name in named if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("folder", [folder for folder in BUILT if "overlays" not in folder])
def test_each_folder_says_what_it_is_which_version_what_changed_and_what_comes_first(folder: str):
    text = (REPOSITORY / folder / "kustomization.yaml").read_text()
    for heading in ("# What: ", "# Version", "Changed: ", "# First: "):
        assert heading in text, heading


def test_the_yaml_is_tidy():
    pytest.importorskip("yamllint")
    command = [sys.executable, "-m", "yamllint", "--strict", "k8s", "argocd", ".github"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shell_scripts_parse():
    scripts = [K8S / "secrets.sh", REPOSITORY / ".ci/run", *sorted(K8S.glob("*.sh"))]
    for script in scripts:
        assert subprocess.run(["bash", "-n", script]).returncode == 0, script
    jobs = [job for path in CI for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()]
    texts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    template = yaml.safe_load((K8S / "workflows/template.yaml").read_text(encoding="utf-8"))["spec"]
    texts += [step["container"]["args"][0] for step in template["templates"] if "container" in step]
    for text in texts:
        done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), text


def test_ci_gives_dream_commands_that_it_takes():
    text = (REPOSITORY / ".github/workflows/cluster.yaml").read_text(encoding="utf-8")
    text = text.replace('"\n          run="$run', "")  # one command in two lines of the shell
    given = re.findall(r"(?:-- |=\"|run: )dream (\w+)([^\"\n]*)", text)
    commands = typer.main.get_group(app).commands
    for name, options in given:
        commands[name].make_context(name, shlex.split(options.split(" > ")[0]))
    assert {name for name, _ in given} == {"doctor", "run", "export"}


def test_ci_runs_actions_by_commit():
    """Tags of actions move, and have been moved to somebody else's code; the tag beside it is for people."""
    used = [line for path in (REPOSITORY / ".github").rglob("*.yaml") for line in path.read_text().splitlines()]
    used = [line.split("uses:")[1].strip() for line in used if "uses:" in line]
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []


@pytest.mark.parametrize("path", ["INSTALL.md", ".github/workflows/cluster.yaml"])
def test_what_the_install_page_and_ci_name_is_there(path: str):
    """Folders, notebooks, and the scheduled Jobs from which others are started by hand."""
    text = (REPOSITORY / path).read_text()
    named = {one.rstrip("./") for one in re.findall(r"(?<![\w/.])(?:k8s|argocd)/[\w/.-]+", text) if "..." not in one}
    assert len(named) > 5
    made_by_the_reader = {"k8s/secrets/sealed.yaml"}
    assert {one for one in named - made_by_the_reader if not (REPOSITORY / one).exists()} == set()
    for notebook in re.findall(r"/home/jupyter/(notebooks/[\w.]+)", text):
        assert (REPOSITORY / notebook).exists()
    scheduled = {one["metadata"]["name"] for one in overlay("laptop") if one["kind"] == "CronJob"}
    started = set(re.findall(r"--from=cronjob/([\w-]+)", text))
    assert started and started <= scheduled


def test_a_job_that_people_start_can_be_started_again():
    """A Job of a fixed name is "unchanged" the second time and does nothing; those by hand come from a CronJob."""
    jobs = {
        one["metadata"]["name"]: one["metadata"].get("annotations", {})
        for folder in BUILT
        for one in objects(rendered(folder))
        if one["kind"] == "Job"
    }
    assert [name for name, annotations in jobs.items() if "argocd.argoproj.io/hook" not in annotations] == []
    assert set(jobs) == {"minio-setup", "serve-check"}
    page = (REPOSITORY / "INSTALL.md").read_text()
    assert [name for name in jobs if f"kubectl -n dream delete job {name}" not in page] == []
