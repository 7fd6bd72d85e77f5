"""The platform without Kubernetes: starts what k8s/overlays/laptop would start, from its own commands and variables.

Run by hand (`make rehearsal`): about five minutes on two cores. Needs root and `unshare` (every service gets the name
and the port that it has in the cluster, in a network of its own), and the programs kustomize, minio and PostgreSQL's.

    S3 server -> its buckets and users -> PostgreSQL -> MLflow -> Ray head and worker -> JupyterLab
    then: `dream doctor`, all notebooks, the workflow's steps, a promotion to a revert, a backup and its restore
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import k8s_objects
import winners
from git_server import git_server
from k8s_objects import K8S, REPOSITORY, Pod, objects
from platform_processes import COMMAND_SECONDS, Platform, memory_gib
from promotion_round import git, promotion_round

INSIDE = "DREAM_REHEARSAL_INSIDE"
HOSTS = ("minio", "postgres-rw", "mlflow", "dream-head-svc", "jupyter", "serve")
GIT_TOKEN = "a-token-of-the-rehearsal-2f"
SETTINGS = ("DREAM_", "AWS_", "S3_", "MLFLOW_")
TRACES = """
from mlflow import MlflowClient
client = MlflowClient()
(found,) = [each.experiment_id for each in client.search_experiments() if each.name == "dream-served"]
print(len(client.search_traces(locations=[found], include_spans=False)))
"""


def main() -> int:
    if os.environ.get(INSIDE) != "1":
        return enter()
    with tempfile.TemporaryDirectory(prefix="dream-rehearsal-") as folder:
        os.chmod(folder, 0o755)
        rehearsal = Rehearsal(Path(folder))
        try:
            rehearsal.start()
            rehearsal.use()
        except (AssertionError, subprocess.SubprocessError) as error:
            print(f"FAILED: {error}\nlogs:", *sorted(Path(folder).glob("*.log")), sep="\n  ")
            for log in sorted(Path(folder).glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-1500:]}")
            return 1
        finally:
            rehearsal.stop()
    print("The rehearsal passed.")
    return 0


def enter() -> int:
    """Start again in a network where only this exists, and where the Services' names lead to it."""
    with tempfile.NamedTemporaryFile("w", prefix="hosts-") as hosts:
        hosts.write(f"127.0.0.1 localhost {socket.gethostname()}\n" + "".join(f"127.0.0.1 {name}\n" for name in HOSTS))
        hosts.flush()
        os.chmod(hosts.name, 0o644)
        script = f"mount --bind {hosts.name} /etc/hosts && ip link set lo up && exec {sys.executable} {__file__}"
        environment = {
            **os.environ,
            INSIDE: "1",
            "KUSTOMIZE_BINARY": k8s_objects.tool("KUSTOMIZE_BINARY", "kustomize", ""),
        }
        return subprocess.run(
            ["unshare", "--mount", "--net", "bash", "-c", script], env=environment, check=False
        ).returncode


class Rehearsal(Platform):
    """The platform in use, from the check of its services to a backup and its restore."""

    def use(self) -> None:
        jupyter = self.environment(self.pods["StatefulSet jupyter"], DREAM_HOME=str(self.folder / "scratch"))
        print(self.run(["dream", "doctor"], jupyter))
        for path in sorted((self.folder / "work/notebooks").glob("*.ipynb")):
            command = ["jupyter", "nbconvert", "--execute", "--to", "notebook", "--inplace", str(path)]
            self.run(command, jupyter, cwd=path.parent)
        runs = httpx.post(
            "http://mlflow:5000/api/2.0/mlflow/runs/search", json={"experiment_ids": ["1"]}, trust_env=False
        ).json()
        print(f"MLflow holds {len(runs['runs'])} runs")
        self.steps()
        self.promotion()
        self.backup()
        print(f"memory of all processes: {memory_gib(self.running):.1f} GiB")

    def steps(self) -> None:
        """The workflow's steps; the check is against the experiment itself."""
        template = next(one["spec"] for one in self.found if one["kind"] == "WorkflowTemplate")
        values = {p["name"]: p["value"] for p in template["arguments"]["parameters"]}
        values |= {
            "sources": str(REPOSITORY / "notebooks/sample_documents"),
            "questions": "6",
            "llms": "offline/llm-small",
        }
        values |= {"embed-models": "offline/embed-small", "experiment": "rehearsal"}
        for step in (step for step in template["templates"] if "container" in step):
            self.step(step, values | ({"baseline": "rehearsal"} if step["name"] == "check" else {}))

    def step(self, step: Mapping[str, Any], values: Mapping[str, str], **more: str) -> None:
        """A step of the workflow with these parameters, and variables of optional Secrets."""
        pod = self.pods[f"WorkflowTemplate dream {step['name']}"]
        given = {}
        for variable in step["container"]["env"]:
            text = variable.get("value", "")
            for name, value in values.items():
                text = text.replace(f"{{{{workflow.parameters.{name}}}}}", value).replace("{{workflow.name}}", "wf-1")
            text = text.replace("{{workflow.parameters.json}}", json.dumps([{"name": name} for name in values]))
            given |= {variable["name"]: text} if "value" in variable else {}
        own = {"HOME": str(self.folder / "home"), "DREAM_HOME": str(self.folder / "scratch"), **more}
        environment = self.environment(pod, **{**given, **own})
        program = str(K8S / "workflows/parameters.py")
        arguments = [each.replace("/etc/dream/parameters.py", program) for each in step["container"]["args"]]
        out = self.run([*step["container"]["command"], *arguments], environment)
        print("\n".join(out.splitlines()[-4:]))

    def promotion(self) -> None:
        """From the workflow's step `promote` to a revert: branches in Git are merged, served and checked."""
        client = self.environment(self.pods["StatefulSet jupyter"], DREAM_HOME=str(self.folder / "scratch"))
        environment = {**client, "DREAM_ENGINE": "in_process", "DREAM_DOCUMENTS_URI": "s3://documents/towers"}
        measured = winners.measure({name: text for name, text in environment.items() if name.startswith(SETTINGS)})
        template = next(one["spec"] for one in self.found if one["kind"] == "WorkflowTemplate")
        (step,) = (each for each in template["templates"] if each["name"] == "promote")
        values = {p["name"]: p["value"] for p in template["arguments"]["parameters"]}
        values |= {"experiment": "measured", "documents": "towers"}
        files = [path for part in ("serve", "site") for path in (K8S / part).iterdir()]
        (self.folder / "git").mkdir()
        with git_server(self.folder / "git", GIT_TOKEN) as server:
            bare = server.repository("ours", {str(path.relative_to(REPOSITORY)): path.read_text() for path in files})
            ours, to = self.folder / "ours", {"DREAM_GIT_REPOSITORY": f"{server.url}/ours.git"}
            to["DREAM_GIT_TOKEN"] = GIT_TOKEN
            git(self.folder, "clone", "--quiet", str(bare), str(ours))
            winner, hashes = ours / "k8s/serve/winner.yaml", list[str]()

            def promote(trial: str) -> None:
                if trial == measured.good:
                    self.step(step, values, **to)
                else:
                    file = str(self.folder / "winner.yaml")
                    self.run(["dream", "export", "measured", "--trial", trial, "-o", file], environment)
                    self.run(["dream", "promote", file], {**environment, **to})
                git(ours, "pull", "--quiet", "--ff-only", "origin", "promote/measured")  # as a merge
                git(ours, "push", "--quiet", "origin", "HEAD:main")

            def checked() -> tuple[int, str]:
                hashes.append(self.winner_hash(ours))
                return self.served_and_checked(winner)

            promotion_round(winner, measured.good, measured.bad, promote, checked)
        first, second, third = hashes
        assert first == third != second, f"the pods are not rolled by a commit: {hashes}"
        traces = int(self.run([sys.executable, "-c", TRACES], client))
        assert traces > 0, "no answer of the service is in MLflow"
        print("A winner passed, a worse one failed, and a revert brought the first back")
        print(f"MLflow holds {traces} traces of their answers")

    def winner_hash(self, repository: Path) -> str:
        """The name of the ConfigMap of what is committed."""
        done = subprocess.run(
            [os.environ["KUSTOMIZE_BINARY"], "build", "k8s/serve"], cwd=repository, capture_output=True, check=True
        )
        (name,) = (one["metadata"]["name"] for one in objects(done.stdout.decode()) if one["kind"] == "ConfigMap")
        return name

    def served_and_checked(self, winner: Path) -> tuple[int, str]:
        """The Deployment's command while the Job's runs; the exit code and output of that."""

        def command(pod: Pod, values: Mapping[str, str]) -> list[str]:
            container = pod.spec["containers"][0]
            every = {"$(SERVE_URL)": values.get("SERVE_URL", ""), "0.1": "1"}  # each answer is traced
            filled = (every.get(each, each) for each in container["args"])
            return [*container["command"], *(str(winner) if "winner.yaml" in each else each for each in filled)]

        own = {"DREAM_HOME": str(self.folder / "scratch")}
        serve, check = self.pods["Deployment serve"], self.pods["Job serve-check"]
        self.spawn("serve", command(serve, {}), self.environment(serve, **own))
        values = self.environment(check, **own)
        try:
            done = subprocess.run(
                command(check, values),
                env=values,
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
            )
        finally:
            process = self.running.pop()
            process.terminate()
            assert process.wait(300) == 0, "dream serve did not end as a pod must"
        print(done.stdout)
        return done.returncode, done.stdout + done.stderr

    def backup(self) -> None:
        pod = self.pods["CronJob postgres-backup"]
        values = self.environment(pod)
        (self.folder / "dump").mkdir()
        place = str(self.folder / "dump")
        dump = [a.replace("/dump", place) for a in pod.spec["initContainers"][0]["command"]]
        self.run([self.postgres_program("pg_dump"), *dump[1:]], values)
        paths = {"/backup/backup.py": str(K8S / "backup/backup.py"), "/dump/mlflow.dump": f"{place}/mlflow.dump"}
        self.run([paths.get(a, a) for a in pod.spec["containers"][0]["command"]], values)
        restore = self.pods["CronJob postgres-restore"]
        os.remove(f"{place}/mlflow.dump")
        self.run([paths.get(a, a) for a in restore.spec["initContainers"][0]["command"]], values)
        command = restore.spec["containers"][0]["command"]
        self.run([self.postgres_program("pg_restore"), *(paths.get(a, a) for a in command[1:])], values)
        print("PostgreSQL was dumped to S3 and restored from there")


if __name__ == "__main__":
    sys.exit(main())
