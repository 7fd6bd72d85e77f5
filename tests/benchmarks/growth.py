"""How time and memory grow: with trials, with workers, and with chunks.

python -m tests.benchmarks.growth --full
"""

import random
import re
from pathlib import Path

from tests.benchmarks.common import REPOSITORY, Sizes, dream, progress, provider, rehearse, run_sections, table

TRIALS_TITLE = "Growth: trials and workers"
CHUNKS_TITLE = "Growth: chunks"
TRIALS, WORKERS = (12, 48, 192), (1, 2)
CHUNKS = (1_000, 10_000, 100_000)
CHUNK_TOKENS = 64
# Sentences of the invented documents hold about this many tokens; three fit into a chunk, a fourth does not.
SENTENCES_IN_A_CHUNK = 3


def measure_trials(sizes: Sizes) -> str:
    n, latency = (1, 0.05) if sizes.quick else (10, 0.2)
    golden = sizes.golden(n)
    rows = []
    for trials in (12,) if sizes.quick else TRIALS:
        if not sizes.quick:
            rehearse(sizes, golden, "--trials", trials)
        for workers in WORKERS:
            with provider(latency, sizes.answers) as at:
                progress(f"growth: {trials} trials, {workers} worker(s)")
                run = dream(at, golden, sizes.fresh_home(), "--trials", trials, "--engine", "ray", "--cpus", workers)
            rows.append(
                {
                    "trials": trials,
                    "workers": workers,
                    "wall s": run.wall,
                    "s a trial": run.wall / trials,
                    "CPU s": run.cpu,
                    "calls": run.counters["calls"],
                    "paid / unique": run.paid_per_unique,
                    "texts embedded": run.counters["texts"],
                    "peak MB": run.peak_mb,
                    "unscored": run.output["unscored"],
                }
            )
    explanation = (
        f"{n} questions, {latency * 1000:.0f} ms an LLM call, cold start included. More trials vary `top_k` and "
        "`context_tokens`, so that 6 indexes are distinct however many trials. Workers are CPUs of the local Ray."
    )
    return "\n\n".join([explanation, table(rows)])


def measure_chunks(sizes: Sizes) -> str:
    n, latency = (1, 0.05) if sizes.quick else (10, 0.2)
    golden = sizes.golden(n)
    rows = []
    for chunks in (200,) if sizes.quick else CHUNKS:
        documents = _documents(sizes.folder / f"documents-{chunks}", chunks)
        with provider(latency, sizes.answers) as at:
            progress(f"growth: {chunks} chunks")
            options = ["--engine", "ray", "--trials", 1, "--chunk-size", CHUNK_TOKENS, "--documents", documents]
            run = dream(at, golden, sizes.fresh_home(), *options)
        answers = run.output["answer_seconds"]
        rows.append(
            {
                "chunks": run.output["nodes"],
                "wall s": run.wall,
                "CPU s": run.cpu,
                "provider CPU s": run.counters["cpu_seconds"],
                "texts embedded": run.counters["texts"],
                "median answer s": answers[len(answers) // 2] if answers else None,
                "peak MB": run.peak_mb,
                "unscored": run.output["unscored"],
                "failed": "; ".join(run.output["failed"]) or "none",
            }
        )
    explanation = (
        f"One trial of {n} questions on invented documents, chunks of {CHUNK_TOKENS} tokens, 256 dimensions, "
        f"{latency * 1000:.0f} ms an LLM call. An answer takes two latencies (question embedded, answered) and the "
        "search. The provider computes the embeddings as it goes; its CPU is part of the wall time on a small machine."
    )
    return "\n\n".join([explanation, table(rows)])


def _documents(folder: Path, chunks: int) -> Path:
    """Markdown files that give about so many chunks, all different, always the same."""
    folder.mkdir()
    sources = sorted((REPOSITORY / "notebooks/sample_sources/text").glob("*.md"))
    vocabulary = re.findall(r"\b[a-z]{4,8}\b", " ".join(source.read_text(encoding="utf-8") for source in sources))
    draw = random.Random(chunks)
    sentences = chunks * SENTENCES_IN_A_CHUNK
    for number, first in enumerate(range(0, sentences, 6_000)):
        lines = [_sentence(draw, vocabulary, place) for place in range(first, min(first + 6_000, sentences))]
        (folder / f"part-{number:03}.md").write_text("\n".join(lines), encoding="utf-8")
    return folder


def _sentence(draw: random.Random, vocabulary: list[str], place: int) -> str:
    return f"Record {place} says: {' '.join(draw.choices(vocabulary, k=11))}."


if __name__ == "__main__":
    run_sections({TRIALS_TITLE: measure_trials, CHUNKS_TITLE: measure_chunks}, __doc__)
