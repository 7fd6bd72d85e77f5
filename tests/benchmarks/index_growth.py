"""How an index grows: 1,000, 10,000 and 100,000 chunks of 1,024 dimensions. Run by hand:

    python tests/benchmarks/index_growth.py            # writes index_growth.md beside this file

Chunks are made-up sentences of about 1,200 characters and random unit vectors, so no model is called. Each size runs
in a process of its own, so that its memory is its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy
import psutil

SIZES = (1_000, 10_000, 100_000)
DIMENSIONS = 1024
QUERIES = 30
TOP_K = 16
CHARACTERS = 1200
TABLE = Path(__file__).with_suffix(".md")
COLUMNS = {
    "chunks": "chunks",
    "assemble_s": "assemble, s",
    "store_s": "store, s",
    "stored_mb": "stored, MB",
    "load_s": "load, s",
    "share_s": "share through Ray, s",
    "query_ms": "query, ms (median)",
    "fastest_ms": "query, ms (fastest)",
    "cpu_ms": "query, ms of CPU (median)",
    "rss_mb": "memory of the process, MB",
    "trial_mb": "memory of its own of a process that shares it, MB",
}


def main() -> None:
    rows = []
    for size in SIZES:
        command, environment = [sys.executable, __file__, str(size)], {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1])
    TABLE.write_text(report(rows))


def report(rows: list[dict[str, Any]]) -> str:
    memory = psutil.virtual_memory().total / 2**30
    lines = [
        "# Growth of an index",
        "",
        f"Machine: {os.cpu_count()} cores, {memory:.0f} GiB of memory; vectors of {DIMENSIONS} dimensions in float32; "
        f"the {TOP_K} nearest of {QUERIES} random questions, one after another; storage is a local folder. "
        f"While it ran, {os.getloadavg()[0]:.0f} processes wanted the {os.cpu_count()} cores, so times by the "
        "clock are several times those of an idle machine. One thread (OMP_NUM_THREADS=1), as Ray gives a trial.",
        "",
        "| " + " | ".join(COLUMNS.values()) + " |",
        "| " + " | ".join("---:" for _ in COLUMNS) + " |",
        *("| " + " | ".join(f"{row[name]:,}" for name in COLUMNS) + " |" for row in rows),
        "",
        "In float16 (half the size) the vectors would be turned into float32 anew at each query, which takes "
        f"{rows[-1]['float16_ms']:,} ms at {rows[-1]['chunks']:,} chunks. So vectors are kept in float32.",
        "",
    ]
    return "\n".join(lines)


def measure(size: int) -> dict[str, Any]:
    from llama_index.core.embeddings import MockEmbedding

    from dream.indexes.nodes import table_of, vector_index
    from dream.indexes.store import IndexSpec, join, load_index, save_index
    from dream.settings import Settings
    from dream.storage import open_storage

    batches = [made_up(start, min(10_000, size - start)) for start in range(0, size, 10_000)]
    tables_s, tables = timed(list, (table_of(nodes, nodes) for nodes, _ in batches))
    join_s, data = timed(join, tables, [vectors for _, vectors in batches])
    del batches, tables
    spec = IndexSpec("documents", "overlapping_chunks", {}, "made-up", "nowhere")
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(folder, Settings.from_environment({}))
        store_s, _ = timed(save_index, storage, spec, data)
        stored = sum(item.size for item in storage.list())
        del data
        before = psutil.Process().memory_info().rss
        load_s, loaded = timed(load_index, storage, spec)
    assert loaded is not None
    index = vector_index(loaded, MockEmbedding(DIMENSIONS))
    times, cpu_times = query_times(index)
    rss = psutil.Process().memory_info().rss
    float16_s, _ = timed(loaded.vectors.astype(numpy.float16).astype, numpy.float32)
    share_s, trial = shared(loaded)
    return {
        "chunks": size,
        "assemble_s": round(tables_s + join_s, 2),
        "store_s": round(store_s, 2),
        "stored_mb": round(stored / 1e6),
        "load_s": round(load_s, 2),
        "share_s": round(share_s, 2),
        "query_ms": round(median(times) * 1000, 1),
        "fastest_ms": round(min(times) * 1000, 1),
        "cpu_ms": round(median(cpu_times) * 1000, 1),
        "rss_mb": round(rss / 1e6),
        "loaded_mb": round((rss - before) / 1e6),
        "float16_ms": round(float16_s * 1000),
        "trial_mb": round(trial / 1e6),
    }


def made_up(start: int, size: int) -> tuple[list[Any], numpy.ndarray]:
    """Nodes and their vectors; some tokens repeat from chunk to chunk, as they do in prose."""
    from llama_index.core.schema import TextNode

    chance = numpy.random.default_rng(start)
    words = numpy.array(
        [f"{a}{b}" for a in ("sal", "tor", "men", "vel", "kar") for b in ("vage", "rent", "tion", "ing")]
    )
    nodes = []
    for number in range(start, start + size):
        text = f"Chunk {number}: " + " ".join(chance.choice(words, CHARACTERS // 6))
        metadata = {"file_name": f"file {number // 100}.pdf", "file_digest": f"{number // 100:064x}", "page_label": "1"}
        nodes.append(TextNode(text=text, metadata=metadata, start_char_idx=0, end_char_idx=len(text)))
    vectors = chance.standard_normal((size, DIMENSIONS), dtype=numpy.float32)
    return nodes, vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


def query_times(index: Any) -> tuple[list[float], list[float]]:
    """Seconds of each query by the clock, and of this process's CPU."""
    from llama_index.core.vector_stores.types import VectorStoreQuery

    chance = numpy.random.default_rng(7)
    times, cpu_times = [], []
    for _ in range(QUERIES + 1):
        wanted = chance.standard_normal(DIMENSIONS).tolist()
        query = VectorStoreQuery(query_embedding=wanted, similarity_top_k=TOP_K)
        cpu_before = time.process_time()
        seconds, found = timed(index.vector_store.query, query)
        cpu_times.append(time.process_time() - cpu_before)
        assert len(found.nodes) == TOP_K
        times.append(seconds)
    return times[1:], cpu_times[1:]


def shared(data: Any) -> tuple[float, float]:
    """Seconds to put data into Ray's object store, and bytes that a worker adds to its own memory by using them."""
    import ray

    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=1)
    seconds, reference = timed(ray.put, data)
    own = ray.get(ray.remote(_own_memory).remote([reference]))
    ray.shutdown()
    return seconds, own


def _own_memory(references: list[Any]) -> int:
    import ray
    from llama_index.core.embeddings import MockEmbedding

    from dream.indexes.nodes import vector_index
    from dream.tokens import count_tokens

    def own() -> int:
        memory = psutil.Process().memory_info()
        return memory.rss - memory.shared

    model = MockEmbedding(DIMENSIONS)
    count_tokens("what every trial loads")
    before = own()
    query_times(vector_index(ray.get(references[0]), model))
    return own() - before


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - started, result


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
    else:
        main()
