"""The services of k8s/overlays/laptop as processes, started by the commands and variables of its pods."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import k8s_objects
from k8s_objects import K8S, REPOSITORY, Object, Pod, objects, rendered, secrets

# Much longer than they take, for a machine that is busy with other things.
START_SECONDS = 900
COMMAND_SECONDS = 3600
RAY_PATIENCE = {
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_agent_register_timeout_ms": str(START_SECONDS * 1000),
    "RAY_worker_register_timeout_seconds": str(START_SECONDS),
}
BIN = Path(sys.executable).parent


class Platform:
    """Services by the names and ports of the cluster, in a network of their own, with their files in `folder`."""

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
