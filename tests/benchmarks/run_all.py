"""All benchmarks, one after another.

python -m tests.benchmarks.run_all --quick     some minutes: shows that all works, prints
python -m tests.benchmarks.run_all --full      hours: writes tests/benchmarks/results.md
"""

from tests.benchmarks import (
    against_the_original,
    commands,
    growth,
    large_golden,
    on_cluster,
    overhead,
    rate_limit,
    second_run,
)
from tests.benchmarks.common import run_sections

SECTIONS = {
    against_the_original.TITLE: against_the_original.measure,
    commands.TITLE: commands.measure,
    rate_limit.TITLE: rate_limit.measure,
    second_run.TITLE: second_run.measure,
    overhead.TITLE: overhead.measure,
    growth.TRIALS_TITLE: growth.measure_trials,
    growth.CHUNKS_TITLE: growth.measure_chunks,
    large_golden.TITLE: large_golden.measure,
    **on_cluster.SECTIONS,
}

if __name__ == "__main__":
    run_sections(SECTIONS, __doc__)
