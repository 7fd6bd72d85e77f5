"""The same experiment again: what is paid a second time, and how long it takes.

python -m tests.benchmarks.second_run --full
"""

from tests.benchmarks.common import Sizes, dream, goal, progress, provider, run_sections, table

TITLE = "A second run"


def measure(sizes: Sizes) -> str:
    n, latency = (2, 0.05) if sizes.quick else (30, 0.2)
    golden, home = sizes.golden(n), sizes.fresh_home()
    rows, runs = [], []
    with provider(latency, sizes.answers) as at:
        for name in ("first", "second"):
            progress(f"second run: {n} questions, {latency * 1000:.0f} ms, {name} run")
            run = dream(at, golden, home, "--name", name)
            runs.append(run)
            rows.append(
                {
                    "run": name,
                    "questions": n,
                    "wall s": run.wall,
                    "CPU s": run.cpu,
                    "paid calls": run.counters["calls"],
                    "texts embedded": run.counters["texts"],
                    "unscored": run.output["unscored"],
                }
            )
    paid = runs[1].counters["calls"]
    explanation = "12 trials, twice under different names in one DREAM_HOME, in two processes; checks of models count."
    wall = runs[1].wall
    goals = [
        goal("paid calls of the second run 0", paid, paid == 0),
        goal("seconds of the second run at most 10", wall, wall <= 10),
    ]
    return "\n\n".join([explanation, table(rows), "\n".join(goals)])


if __name__ == "__main__":
    run_sections({TITLE: measure}, __doc__)
