"""The platform without Kubernetes: starts what k8s/overlays/laptop would start, from its own commands and variables.

Run by hand (`make rehearsal`): about five minutes on two cores. Needs root and `unshare` (every service gets the name
and the port that it has in the cluster, in a network of its own), and the programs kustomize, minio and PostgreSQL's.

    S3 server -> its buckets and users -> PostgreSQL -> MLflow -> Ray head and worker -> JupyterLab
    then: `dream doctor`, all notebooks, the workflow's steps, a promotion to a revert, a backup and its restore
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import k8s_objects
import winners
from git_server import git_server
from k8s_objects import K8S, REPOSITORY, Object, Pod, objects, rendered, secrets
from promotion_round import git, promotion_round

INSIDE = "DREAM_REHEARSAL_INSIDE"
HOSTS = ("minio", "postgres-rw", "mlflow", "dream-head-svc", "jupyter", "serve")
GIT_TOKEN = "a-token-of-the-rehearsal-2f"
SETTINGS = ("DREAM_", "AWS_", "S3_", "MLFLOW_")
# Much longer than they take, for a machine that is busy with other things.
START_SECONDS = 900
COMMAND_SECONDS = 3600
RAY_PATIENCE = {
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_agent_register_timeout_ms": str(START_SECONDS * 1000),
    "RAY_worker_register_timeout_seconds": str(START_SECONDS),
}
TRACES = """
from mlflow import MlflowClient
client = MlflowClient()
(found,) = [each.experiment_id for each in client.search_experiments() if each.name == "dream-served"]
print(len(client.search_traces(locations=[found], include_spans=False)))
"""
BIN = Path(sys.executable).parent


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


class Rehearsal:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found = [*objects(rendered("k8s/overlays/laptop")), *self.served()]
        self.pods = {pod.owner: pod for pod in k8s_objects.pods(self.found)}
        self.running: list[subprocess.Popen] = []

    def served(self) -> list[Object]:
        """What the overlay's folder `serve` makes of an empty winner, with its answers traced."""
        place = self.folder / "kustomization"
        place.mkdir()
        paths = {"resources": K8S / "overlays/laptop/serve", "components": K8S / "components/serve-traces"}
        lines = [f"{key}: [{os.path.relpath(path, place)}]\n" for key, path in paths.items()]
        (place / "kustomization.yaml").write_text("".join(lines))
        return objects(rendered(str(place)))

    def environment(self, pod: Pod, **more: str) -> dict[str, str]:
        """A container's variables and no others, but for what finds programs on this machine."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        own = {"PATH": f"{self.folder / 'bin'}:{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
        values = k8s_objects.environment(pod, self.found)
        return {
            **own,
            **{name: value for name, value in values.items() if "{{" not in value},
            "HOME": str(home),
            **more,
        }

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        seconds: float = COMMAND_SECONDS,
        cwd: Path | None = None,
    ) -> str:
        print("$", *(each.partition("\n")[0] for each in command[:6]), flush=True)
        done = subprocess.run(
            command,
            env=environment,
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def spawn(self, name: str, command: Sequence[str], environment: Mapping[str, str], cwd: Path | None = None) -> None:
        print("&", *command[:8], flush=True)
        log = (self.folder / f"{name}.log").open("w")
        process = subprocess.Popen(
            command, env=environment, cwd=cwd or self.folder, stdout=log, stderr=log, start_new_session=True
        )
        self.running.append(process)

    def answers(self, url: str) -> None:
        def is_there() -> bool:
            with suppress(httpx.TransportError):
                return httpx.get(url, timeout=5, trust_env=False).is_success
            return False

        self.wait(is_there, url)

    def listens(self, host: str, port: int) -> None:
        def is_there() -> bool:
            with suppress(OSError):
                socket.create_connection((host, port), 2).close()
                return True
            return False

        self.wait(is_there, f"{host}:{port}")

    def wait(self, is_there: Callable[[], bool], what: str) -> None:
        """Wait for the process that was started last."""
        process, give_up = self.running[-1], time.monotonic() + START_SECONDS
        while not is_there():
            assert process.poll() is None, f"nothing at {what}: {process.args} ended with {process.returncode}"
            assert time.monotonic() < give_up, f"nothing at {what} within {START_SECONDS} s"
            time.sleep(0.2)

    def start(self) -> None:
        (self.folder / "bin").mkdir()
        python = self.folder / "bin/python"  # no link, by which an environment's packages are not found
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        self.object_storage()
        self.database()
        self.mlflow()
        self.ray()
        self.jupyter()

    def object_storage(self) -> None:
        pod = self.pods["StatefulSet minio"]
        program = k8s_objects.tool("MINIO_BINARY", "minio", "serve S3")
        (self.folder / "data").mkdir()
        arguments = [str(self.folder / "data") if a == "/data" else a for a in pod.spec["containers"][0]["args"]]
        self.spawn("minio", [program, *arguments], self.environment(pod))
        self.answers("http://minio:9000/minio/health/ready")
        for name in ("minio-root", "dream-s3", "reports-s3", "mlflow-s3", "backup-s3"):
            (self.folder / "keys" / name).mkdir(parents=True)
            for key, value in secrets()[name].items():
                (self.folder / "keys" / name / key).write_text(value)
        job = self.pods["Job minio-setup"]
        self.run([sys.executable, str(K8S / "minio/setup.py"), str(self.folder / "keys")], self.environment(job))

    def postgres_program(self, name: str) -> str:
        found = shutil.which(name) or next((str(p) for p in Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), None)
        assert found, f"no {name}: install PostgreSQL"
        return found

    def database(self) -> None:
        values = self.environment(self.pods["StatefulSet postgres"])
        place, password = self.folder / "database", self.folder / "password"
        place.mkdir()
        password.write_text(values["POSTGRES_PASSWORD"])
        for path in (place, password):
            shutil.chown(path, "postgres")
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        user = ["--username", values["POSTGRES_USER"], "--pwfile", str(password), "--auth=scram-sha-256"]
        initial = [*as_postgres, self.postgres_program("initdb"), "-D", str(place), *user, "--data-checksums"]
        self.run(initial, values, cwd=place)
        self.spawn(
            "postgres",
            [*as_postgres, self.postgres_program("postgres"), "-D", str(place), "-k", str(place)],
            values,
            cwd=place,
        )
        connection = {
            **values,
            "PGHOST": "postgres-rw",
            "PGUSER": values["POSTGRES_USER"],
            "PGPASSWORD": values["POSTGRES_PASSWORD"],
        }
        self.listens("postgres-rw", 5432)
        self.run([self.postgres_program("createdb"), values["POSTGRES_DB"]], connection)

    def mlflow(self) -> None:
        pod = self.pods["Deployment mlflow"]
        values = self.environment(pod)
        self.run(pod.spec["initContainers"][0]["command"], values)
        container = pod.spec["containers"][0]
        arguments = [a.replace("$(DREAM_BUCKET_PREFIX)", values["DREAM_BUCKET_PREFIX"]) for a in container["args"]]
        self.spawn("mlflow", [*container["command"], *arguments], values)
        self.answers("http://mlflow:5000/health")

    def ray(self) -> None:
        token = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets()["ray-token"]["auth_token"],
        }  # as KubeRay sets them
        cluster = next(one["spec"] for one in self.found if one["kind"] == "RayCluster")
        options = [f"--{key}={value}" for key, value in cluster["headGroupSpec"]["rayStartParams"].items()]
        head = self.environment(self.pods["RayCluster dream head"], **token)
        at = ["--node-ip-address=127.0.0.1", "--block", "--disable-usage-stats", f"--temp-dir={self.folder}/r"]
        command = ["ray", "start", "--head", "--port=6379", "--ray-client-server-port=10001", *options, *at]
        self.ray_node("head", command, head)
        self.listens("dream-head-svc", 10001)
        worker = self.environment(self.pods["RayCluster dream workers"], **token)
        options = [f"--{key}={value}" for key, value in cluster["workerGroupSpecs"][0]["rayStartParams"].items()]
        self.ray_node("worker", ["ray", "start", "--address=dream-head-svc:6379", *options, *at[:3]], worker)

    def ray_node(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a node; again where Ray gives up, which waits 15 seconds for its agents, as Kubernetes would do."""
        log, attempts = self.folder / f"{name}.log", 10
        while True:
            self.spawn(name, command, {**environment, **RAY_PATIENCE})
            try:
                return self.wait(lambda: "Ray runtime started" in log.read_text(), f"the {name} of Ray")
            except AssertionError:
                attempts -= 1
                if not attempts:
                    raise
                print(f"  {log.read_text().splitlines()[-1]}", flush=True)
                end([self.running.pop()])

    def jupyter(self) -> None:
        pod = self.pods["StatefulSet jupyter"]
        work = self.folder / "work"
        shutil.copytree(REPOSITORY / "notebooks", work / "notebooks")
        container = pod.spec["containers"][0]
        arguments = [a.replace("/home/jupyter", str(work)) for a in container["args"]]
        root = ["--allow-root"] if os.geteuid() == 0 else []
        self.spawn("jupyter", [*container["command"], *arguments, *root], self.environment(pod), cwd=work)
        self.answers("http://jupyter:8888/api")
        token = {"Authorization": f"token {secrets()['jupyter']['token']}"}
        listing = httpx.get("http://jupyter:8888/api/contents/notebooks", headers=token, trust_env=False)
        assert listing.is_success, listing.text
        assert httpx.get("http://jupyter:8888/api/contents/notebooks", trust_env=False).status_code == 403

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

    def stop(self) -> None:
        """End exactly what was started: each service leads a session, and its processes are those in it."""
        end(self.running[::-1])


def end(processes: Sequence[subprocess.Popen]) -> None:
    for sent, seconds in ((signal.SIGTERM, 3), (signal.SIGKILL, 0)):
        for process in processes:
            for pid in session(process):
                with suppress(ProcessLookupError):
                    os.kill(pid, sent)
        time.sleep(seconds)


def session(process: subprocess.Popen) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):
            if os.getsid(int(path.name)) == process.pid:
                found.append(int(path.name))
    return found


def memory_gib(processes: Sequence[subprocess.Popen]) -> float:
    """The proportional memory of the processes' sessions."""
    total = 0
    for process in processes:
        own = 0
        for pid in session(process):
            with suppress(OSError, IndexError):
                own += int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0])
        print(f"  {own / 2**20:.2f} GiB  {' '.join(map(str, process.args))[:60]}")
        total += own
    return total / 2**20


if __name__ == "__main__":
    sys.exit(main())
