"""Large golden datasets: 200,000 questions in one file or in part files, read by DREAM, by pyarrow and by Ray Data.

python -m tests.benchmarks.large_golden --full
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.common import Sizes, measured, progress, run_sections, table

TITLE = "Large golden datasets"
N_PARTS = 32
EXPLANATION = (
    "Each row is a process of its own, its start included. `DREAM` reads the files and understands their rows, as for "
    "an experiment; `pyarrow` and `Ray Data` only read all rows of the same part files as dictionaries, which is where "
    "understanding them begins; Ray Data on a local Ray."
)


def measure(sizes: Sizes) -> str:
    n = 2_000 if sizes.quick else 200_000
    folder = write(n, sizes.folder)
    rows = []
    for reader, path in (
        ("DREAM", folder / "questions.csv"),
        ("DREAM", folder / "parts"),
        ("pyarrow", folder / "parts"),
        ("Ray Data", folder / "parts"),
    ):
        progress(f"large golden datasets: {reader}, {path.name}")
        run = measured("large_golden", reader, path)
        assert run.output["questions"] == n, run.output
        row = {"reader": reader, "files": "one CSV" if path.is_file() else f"{N_PARTS} Parquet parts", "questions": n}
        rows.append({**row, "wall s": run.wall, "CPU s": run.cpu, "peak MB": run.peak_mb})
    return f"{EXPLANATION}\n\n{table(rows)}"


def write(n: int, folder: Path) -> Path:
    """The same `n` questions as a CSV and as part files."""
    import pandas

    numbers = range(n)
    frame = pandas.DataFrame(
        {
            "question": [f"What does part {i} of report {i % 997} say of the costs of year {i % 40}?" for i in numbers],
            "ground_truth": [f"They were {i} thousand, {i % 13} % more than planned. " * 3 for i in numbers],
            "reference_contexts": [[f"In the year {i % 40} the costs were {i} thousand. " * 8] for i in numbers],
            "source_file": [f"report {i % 997}.pdf" for i in numbers],
            "source_page": [str(1 + i % 90) for i in numbers],
        }
    )
    (folder / "parts").mkdir()
    for part in range(N_PARTS):
        frame.iloc[part::N_PARTS].to_parquet(folder / "parts" / f"part-{part:05}.parquet", index=False)
    contexts = frame["reference_contexts"].map(json.dumps)
    frame.assign(reference_contexts=contexts).to_csv(folder / "questions.csv", index=False)
    return folder


def with_dream(path: str) -> int:
    from dream.golden.dataset import load_golden_dataset
    from dream.settings import Settings

    return len(load_golden_dataset(path, Settings.from_environment({}), show=None).questions)


def with_pyarrow(path: str) -> int:
    from pyarrow import parquet

    return len(parquet.read_table(path).to_pylist())


def with_ray_data(path: str) -> int:
    from dream.ray_cluster import connected
    from dream.settings import Settings

    with connected(Settings.from_environment({})):
        import ray

        ray.data.DataContext.get_current().enable_progress_bars = False
        return sum(1 for _ in ray.data.read_parquet(path).iter_rows())


READERS: dict[str, Callable[[str], int]] = {"DREAM": with_dream, "pyarrow": with_pyarrow, "Ray Data": with_ray_data}


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in READERS:
        parser = argparse.ArgumentParser()
        parser.add_argument("reader", choices=READERS)
        parser.add_argument("path")
        options = parser.parse_args()
        print(json.dumps({"questions": READERS[options.reader](options.path)}))
    else:
        run_sections({TITLE: measure}, __doc__)


if __name__ == "__main__":
    main()
