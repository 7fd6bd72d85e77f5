"""What the benchmarks share: the provider's process, golden questions, a measured process, and Markdown tables."""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = REPOSITORY / "notebooks/sample_documents"
RESULTS = Path(__file__).with_name("results.md")
ALLOWED_CONCURRENCY = 256
# The shortest way from a document to a score, in LLM latencies: documents embedded (0.1), question embedded (0.1),
# answered (1), cut into statements (1), statements judged (1). ragas itself waits longer, one call after another.
LONGEST_CHAIN = 3.2
SAMPLE_SECONDS = 0.25
MARK = "BENCHMARK_RUN"
_PERSONAL = ("DREAM_", "OPENAI_", "AWS_", "S3_", "RAY_ADDRESS", "MLFLOW_TRACKING_URI")


@dataclass(frozen=True)
class Provider:
    """The running simulated provider."""

    base_url: str
    latency_seconds: float

    def counters(self) -> dict[str, Any]:
        return self._request("GET", "/counters").json()

    def reset(self) -> None:
        self._request("POST", "/counters/reset")

    def _request(self, method: str, path: str) -> httpx.Response:
        return httpx.request(method, self.base_url.removesuffix("/v1") + path, trust_env=False, timeout=30)


@contextmanager
def provider(latency_seconds: float, answers: Path, requests_per_minute: int = 0) -> Iterator[Provider]:
    """The simulated provider in a process of its own; `answers` is the file that keeps what it has computed."""
    options = ["--latency-ms", str(latency_seconds * 1000), "--requests-per-minute", str(requests_per_minute)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.simulated_provider", *options, "--answers", str(answers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert process.stdin and process.stdout
    try:
        yield Provider(json.loads(process.stdout.readline())["base_url"], latency_seconds)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@dataclass(frozen=True)
class Run:
    """One measured process and what the provider counted meanwhile.

    `wall` is from the start of the process to its end, `cpu` the seconds of it and all that it started, the provider
    not among them. `peak_mb` adds up resident memory; what processes share is in it more than once.
    """

    wall: float
    cpu: float
    peak_mb: float
    started_at: float
    output: Any
    counters: Mapping[str, Any]

    @property
    def paid_per_unique(self) -> float:
        return self.counters["calls"] / max(self.counters["distinct"], 1)

    def limit(self, latency_seconds: float) -> float:
        """Seconds that no procedure can beat: the longest chain, or all distinct calls at the allowed concurrency."""
        calls = self.counters["distinct_chat"] + self.counters["distinct_embedding"] / 10
        return max(LONGEST_CHAIN * latency_seconds, calls * latency_seconds / ALLOWED_CONCURRENCY)

    def seconds_to_first_question(self) -> float | None:
        answered = self.counters["first_question_answered_at"]
        return None if answered is None else answered - self.started_at


def measured(program: str, *arguments: object, at: Provider | None = None) -> Run:
    """Run `python -m tests.benchmarks.<program>`; the last line that it prints is JSON, and becomes `output`."""
    if at is not None:
        at.reset()
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", f"tests.benchmarks.{program}", *map(str, arguments)]
    with tempfile.TemporaryFile() as errors, _Sampler(mark) as sampler:
        started_at, started = time.time(), time.monotonic()
        done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=REPOSITORY, env=_environment(mark))
        printed = done.communicate()[0].decode().strip()
        wall = time.monotonic() - started
        counters = {} if at is None else at.counters()
        if done.returncode:
            errors.seek(0)
            tail = errors.read()[-4000:].decode(errors="replace")
            raise SystemExit(f"{' '.join(command[2:])} ended with {done.returncode}:\n{tail}")
        sampler.wait_until_gone()
    output = json.loads(printed.splitlines()[-1])
    return Run(wall, sampler.cpu_seconds, sampler.peak_mb, started_at, output, counters)


def _environment(mark: str) -> dict[str, str]:
    """The shell's environment without anything that sets DREAM up, and with the mark that children inherit."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PERSONAL)}
    return {**kept, MARK: mark, "NO_PROXY": "127.0.0.1,localhost"}


@dataclass
class _Sampler:
    """CPU time and memory of all processes that carry a mark, read four times a second.

    Ray's workers are nobody's waited-for children, so the operating system adds them up for no one.
    """

    mark: str
    peak_mb: float = 0.0
    _seconds: dict[tuple[int, float], float] = field(default_factory=dict)
    _ours: dict[int, psutil.Process | None] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def cpu_seconds(self) -> float:
        return sum(self._seconds.values())

    def __enter__(self) -> "_Sampler":
        self._known = set(psutil.pids())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_until_gone(self, seconds: float = 20.0) -> None:
        """Ray's processes end a moment after their driver; the next run must not share the machine with them."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up and self._sample():
            time.sleep(SAMPLE_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> int:
        alive, memory = 0, 0
        for pid in set(psutil.pids()) - self._known:
            process = self._ours[pid] if pid in self._ours else self._look_at(pid)
            if process is None:
                continue
            with suppress(psutil.Error):
                with process.oneshot():
                    times, resident = process.cpu_times(), process.memory_info().rss
                    gone = process.status() == psutil.STATUS_ZOMBIE
                self._seconds[(pid, process.create_time())] = times.user + times.system
                memory += resident
                alive += not gone
        self.peak_mb = max(self.peak_mb, memory / 1e6)
        return alive

    def _look_at(self, pid: int) -> psutil.Process | None:
        try:
            process = psutil.Process(pid)
            self._ours[pid] = process if process.environ().get(MARK) == self.mark else None
        except psutil.Error:
            return None
        return self._ours[pid]


def golden_questions(n: int, folder: Path) -> Path:
    """A CSV of `n` questions, made from sentences of the sample documents without any model; always the same ones."""
    path = folder / f"golden-{n}.csv"
    if path.exists():
        return path
    from dream.golden.dataset import golden_table
    from dream.records import GoldenQuestion

    by_file = [list(_file_questions(text)) for text in _texts()]
    turns = max(len(questions) for questions in by_file)
    pairs = [questions[turn] for turn in range(turns) for questions in by_file if turn < len(questions)]
    if len(pairs) < n:
        raise SystemExit(f"the sample documents give {len(pairs)} questions, fewer than {n}")
    rows = [GoldenQuestion(GoldenQuestion.make_id(*pair), *pair) for pair in pairs[:n]]
    golden_table(rows).to_csv(path, index=False)
    return path


def _texts() -> list[str]:
    from dream.documents.loading import load_documents, merge_pages
    from dream.settings import Settings
    from dream.storage import open_storage

    loaded = load_documents(open_storage(str(DOCUMENTS), Settings.from_environment({})))
    return [document.text for document in merge_pages(loaded.documents)]


def _file_questions(text: str) -> Iterator[tuple[str, str]]:
    """Questions that a sentence of a file answers, with the sentence as the ground truth; every third sentence."""
    from dream.offline.questions import ask
    from dream.offline.text import analyse

    whole = [sentence for sentence in analyse(text) if 8 <= len(sentence.text.split()) <= 40]
    pairs = {ask(sentence.text, sentence.heading): sentence.text for sentence in whole}
    good = [(question, truth) for question, truth in pairs.items() if not question.startswith("What is said about")]
    for first in range(3):
        yield from good[first::3]


@dataclass(frozen=True)
class Sizes:
    """How much to measure. `quick` only shows that everything works; its numbers mean nothing."""

    quick: bool
    folder: Path

    @property
    def answers(self) -> Path:
        return self.folder / "answers.json"

    def golden(self, n: int) -> Path:
        return golden_questions(n, self.folder)

    def fresh_home(self) -> Path:
        """A new DREAM_HOME, so that nothing is cached."""
        return Path(tempfile.mkdtemp(prefix="home-", dir=self.folder))


def dream(at: Provider, golden: Path, home: Path, *more: object) -> Run:
    """Run DREAM's 12 trials, or what `more` says, and measure it."""
    return measured("run_dream", "--base-url", at.base_url, "--questions", golden, "--home", home, *more, at=at)


def rehearse(sizes: Sizes, golden: Path, *more: object) -> None:
    """Run DREAM once without latency and unmeasured, so that the provider has computed its answers."""
    with provider(0.0, sizes.answers) as at:
        dream(at, golden, sizes.fresh_home(), *more)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """A Markdown table; the keys of the first row are its columns."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return "\n".join(lines + ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows])


def goal(text: str, measured_value: float | None, met: bool | None) -> str:
    """A line that says whether a goal was met."""
    verdict = "not measured" if met is None or measured_value is None else "met" if met else "**missed**"
    shown = "" if measured_value is None else f" {_cell(measured_value)}:"
    return f"- {text}:{shown} {verdict}."


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def machine() -> str:
    """The machine and the libraries, for the head of the results."""
    from importlib.metadata import version

    memory = psutil.virtual_memory().total / 2**30
    names = ("ray", "llama-index-core", "ragas", "openai", "httpx")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}; {libraries}."
    )


def _processor() -> str:
    with suppress(OSError):
        if found := re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()):
            return found[1]
    return platform.machine()


Section = Callable[[Sizes], str]


def write_section(path: Path, title: str, text: str) -> None:
    """Put a section into the results, in the place of the one of that title."""
    old = path.read_text(encoding="utf-8") if path.exists() else "# Benchmarks\n"
    head, *sections = re.split(r"(?m)^(?=## )", old)
    kept = [section for section in sections if not section.startswith(f"## {title}\n")]
    place = next((i for i, section in enumerate(sections) if section.startswith(f"## {title}\n")), len(kept))
    kept.insert(place, f"## {title}\n\n{text}\n")
    path.write_text("\n\n".join(part.strip() for part in [head, *kept]) + "\n", encoding="utf-8")


def run_sections(sections: Mapping[str, Section], description: str | None) -> None:
    """The command line of every benchmark: measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--quick", action="store_true", help="small sizes: shows that all works; results are only printed")
    how.add_argument("--full", action="store_true", help="the sizes of the goals; results go to a file")
    parser.add_argument("--results", type=Path, help=f"where results go (default with --full: {RESULTS.name})")
    options = parser.parse_args()
    results = options.results or (RESULTS if options.full else None)
    with tempfile.TemporaryDirectory(prefix="dream-benchmarks-") as folder:
        sizes = Sizes(options.quick, Path(folder))
        for title, measure in sections.items():
            load = os.getloadavg()[0]
            text = f"{machine()} Load of the machine before: {load:.1f}.\n\n{measure(sizes)}"
            print(f"\n## {title}\n\n{text}\n", flush=True)
            if results:
                write_section(results, title, text)


def progress(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S}  {line}", file=sys.stderr, flush=True)
