"""Reading PDFs: CPU seconds, the gain from a second process, the second time, and memory by the number of pages.

    python -m tests.benchmarks.read_documents speed [PAGES]       # by default 1,400 pages in 24 files
    python -m tests.benchmarks.read_documents memory [PAGES...]   # by default 1,400 and 10,000 pages
    python -m tests.benchmarks.read_documents plan FOLDER         # times `dream plan` on documents of one's own

Reports of tables and prose are made, of 58 pages each; those beyond the first 24 are copies that differ in their
digests. `speed` compares ways of reading within one process. `memory` runs each step in a process of its own, and
prints the peak of its resident memory (children have their own), CPU seconds (with children), and seconds from its
start to its end.
"""

import csv
import io
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Table

from dream.documents import load_documents, parsing
from dream.settings import Settings
from dream.storage import MemoryStorage, open_storage

FILES, PAGES_A_FILE = 24, 58
WORDS = "the pump station delivers water in litres per second at a head of thirty metres to the town".split()


def report(n_pages: int, seed: int) -> bytes:
    """A report with a table and prose on every page, and a header and a footer."""
    rng, target, style = random.Random(seed), io.BytesIO(), getSampleStyleSheet()["BodyText"]
    story = []
    for page in range(n_pages):
        rows = [
            ["Item", "2022", "2023", "Change"],
            *([f"Row {page}.{i}", *rng.sample(range(10**6), 3)] for i in range(14)),
        ]
        story += [Paragraph(" ".join(rng.choices(WORDS, k=90)), style) for _ in range(4)]
        story += [Table(rows), PageBreak()]

    def frame(canvas, document) -> None:
        canvas.drawString(72, 800, "Harlow Water Works - Annual report")
        canvas.drawString(72, 30, f"Page {document.page}")

    SimpleDocTemplate(target, invariant=True).build(story, onFirstPage=frame, onLaterPages=frame)
    return target.getvalue()


def cpu_seconds() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


@contextmanager
def measured(name: str, into: dict[str, tuple[float, float]]) -> Iterator[None]:
    cpu, wall = cpu_seconds(), time.monotonic()
    yield
    into[name] = cpu_seconds() - cpu, time.monotonic() - wall
    print(f"{name:<44} {into[name][0]:7.2f} CPU s {into[name][1]:7.2f} s wall", flush=True)


def by_pypdf(contents: dict[str, bytes]) -> int:
    import pypdf

    return sum(
        len(page.extract_text()) for content in contents.values() for page in pypdf.PdfReader(io.BytesIO(content)).pages
    )


def with_processes(size: int, function: Callable[[], object]) -> None:
    """Run a function while so many processes read."""
    original = parsing.n_processes
    parsing.n_processes = lambda n_files=parsing.PROCESSES_AT_MOST: min(size, n_files)
    try:
        function()
    finally:
        parsing.n_processes = original


def make(folder: Path, n_pages: int) -> dict[str, bytes]:
    """Write files with so many pages in all; their contents by name."""
    folder.mkdir(parents=True)
    distinct = [report(PAGES_A_FILE, i) for i in range(min(FILES, n_pages // PAGES_A_FILE))]
    contents = {}
    for i in range(n_pages // PAGES_A_FILE):
        copy = f"\n% copy {i // FILES}\n".encode() if i >= FILES else b""
        contents[f"{i:04}.pdf"] = distinct[i % FILES] + copy
        (folder / f"{i:04}.pdf").write_bytes(contents[f"{i:04}.pdf"])
    time.sleep(2.1)  # files that have just changed are not trusted
    return contents


def speed(n_pages: int) -> None:
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as home:
        contents = make(Path(home, "documents"), n_pages)
        size = sum(map(len, contents.values())) / 1e6
        print(f"{n_pages:,} pages in {len(contents)} files, {size:.1f} MB, {os.cpu_count()} CPUs")
        documents = open_storage(str(Path(home, "documents")), Settings.from_environment({}))
        with measured("pypdf", found):
            by_pypdf(contents)
        parsing.SECONDS_FOR_PROCESSES = 0
        load_documents(MemoryStorage("m", {"a.txt": b"imports"}))
        for size in (1, 2):
            settings = Settings.from_environment({"DREAM_HOME": f"{home}/{size}"})
            with measured(f"load_documents, {size} process{'es' * (size > 1)}", found):
                with_processes(size, lambda: load_documents(documents, settings=settings))  # noqa: B023
        with measured("load_documents, the second time", found):
            load_documents(documents, settings=settings)
    pypdf_cpu, one, two, second = found.values()
    print(f"CPU: pypdf takes {pypdf_cpu[0] / one[0]:.1f} times the CPU of DREAM's reader")
    print(f"wall: two processes read {one[1] / two[1]:.2f} times as fast as one")
    print(f"CPU: {2 * one[0] / two[0]:.2f} times as fast on two idle CPUs, for {two[0] / one[0]:.2f} of the CPU")
    print(f"CPU: the second load takes {second[0] / one[0]:.3f} of the first")


def memory(n_pages: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        contents = make(Path(home, "documents"), n_pages)
        print(f"\n{n_pages:,} pages in {len(contents)} files, {sum(map(len, contents.values())) / 1e6:.1f} MB")
        del contents
        for name in ("load", "load", "plan", "plan", "golden", "index", "index", "plan"):
            in_a_process(name, home, f"{home}/documents")


def in_a_process(name: str, home: str, documents: str) -> None:
    environment = {**os.environ, "DREAM_HOME": home, "DREAM_DOCUMENTS_URI": documents}
    started = time.monotonic()
    command = [sys.executable, "-m", "tests.benchmarks.read_documents", "step", name]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    wall, found = time.monotonic() - started, json.loads(done.stdout.splitlines()[-1])
    print(f"{name:<8} {found['peak_mb']:6.0f} MB peak {found['cpu']:7.1f} CPU s {wall:7.1f} s wall  {found['said']}")


def step(name: str) -> None:
    """Run a step in this process, and print what it took."""
    said = {"load": step_load, "plan": step_plan, "golden": step_golden, "index": step_index}[name]()
    peak = int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1000
    print(json.dumps({"peak_mb": peak, "cpu": cpu_seconds(), "said": said}))


def step_load() -> str:
    settings = Settings.from_environment()
    loaded = load_documents(open_storage(settings.documents_uri, settings), settings=settings)
    return f"{len(loaded.documents):,} documents"


def step_plan() -> str:
    from dream.cli.main import main as dream

    golden = Path(os.environ["DREAM_HOME"], "golden.csv")
    with open(golden, "w", newline="") as file:
        csv.writer(file).writerows([["question", "ground_truth"], *([f"Question {i}?", "42"] for i in range(20))])
    assert dream(["plan", "--golden", str(golden)]) == 0
    return ""


def step_golden() -> str:
    from dream.golden import plan_golden_dataset

    return f"{plan_golden_dataset(20, settings=Settings.from_environment()).files} files can be asked about"


def step_index() -> str:
    """An index of chunks whose vectors are made here at no cost, as a model's time and memory are its own."""
    import numpy

    from dream.indexes import builder, client
    from dream.models import gateway_client

    def vectors(texts, model, on_batch):
        return numpy.eye(256, dtype=numpy.float32)[numpy.arange(len(texts)) % 256]

    builder.embed = vectors
    settings = Settings.from_environment()
    loaded = load_documents(open_storage(settings.documents_uri, settings), settings=settings)
    with gateway_client.opened(settings), client.opened(settings):
        parameters = {"chunk_size": 256, "chunk_overlap": 32}
        spec = client.index_spec(
            client.documents_digest(loaded.documents), "overlapping_chunks", parameters, "offline/embed-small"
        )
        data = client.current_indexes().get(spec, loaded.documents)
    return f"{len(data.vectors):,} vectors, the index has {(data.vectors.nbytes + data.nodes.nbytes) / 1e6:.0f} MB"


def main(what: str = "speed", *arguments: str) -> None:
    if what == "step":
        step(*arguments)
    elif what == "plan":
        with tempfile.TemporaryDirectory() as home:
            for _ in range(2):
                in_a_process("plan", home, *arguments)
    else:
        for n_pages in map(int, arguments or (["1400"] if what == "speed" else ["1400", "10000"])):
            {"speed": speed, "memory": memory}[what](n_pages)


if __name__ == "__main__":
    main(*sys.argv[1:])
