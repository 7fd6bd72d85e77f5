"""Reading PDFs: the CPU seconds of pypdf and of DREAM, of the first and the second time, with one and two processes.

    python -m tests.benchmarks.read_documents [PAGES]

makes reports of tables and prose (by default 1,400 pages in 24 files), and prints the CPU seconds of this process and
its children for each way of reading them, and ratios within this one run.
"""

import io
import os
import random
import resource
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

FILES = 24
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


def main(n_pages: int) -> None:
    contents = {f"{i:02}.pdf": report(n_pages // FILES, i) for i in range(FILES)}
    print(f"{n_pages:,} pages in {FILES} files, {sum(map(len, contents.values())) / 1e6:.1f} MB, {os.cpu_count()} CPUs")
    found: dict[str, tuple[float, float]] = {}
    storage = MemoryStorage("m", contents)
    with measured("pypdf", found):
        by_pypdf(contents)
    parsing.SECONDS_FOR_PROCESSES = 0
    load_documents(MemoryStorage("m", {"a.txt": b"imports"}))
    with measured("load_documents, 1 process", found):
        with_processes(1, lambda: load_documents(storage))
    with measured("load_documents, 2 processes", found):
        with_processes(2, lambda: load_documents(storage))
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_environment({"DREAM_HOME": folder})
        for name, content in contents.items():
            Path(folder, "documents").mkdir(exist_ok=True)
            Path(folder, "documents", name).write_bytes(content)
        time.sleep(2.1)  # files that have just changed are not trusted
        documents = open_storage(settings.documents_uri, settings)
        with measured("load_documents with a cache, the first time", found):
            load_documents(documents, settings=settings)
        with measured("load_documents with a cache, the second time", found):
            load_documents(documents, settings=settings)
    pypdf_cpu, one, two = (found[name] for name in list(found)[:3])
    first, second = (found[name] for name in list(found)[3:])
    print(f"CPU: pypdf takes {pypdf_cpu[0] / one[0]:.1f} times the CPU of DREAM's reader")
    print(f"wall: two processes read {one[1] / two[1]:.2f} times as fast as one")
    print(f"CPU: the second load takes {second[0] / first[0]:.3f} of the first")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1400)
