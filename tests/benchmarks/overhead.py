"""What DREAM itself costs: CPU a model call when models answer at once, and the cold start.

python -m tests.benchmarks.overhead --full
"""

from collections.abc import Mapping

from tests.benchmarks.common import Sizes, dream, goal, progress, provider, rehearse, run_sections, table

TITLE = "Overhead"
# seconds
FIRST_ANSWER = {"in_process": 8, "ray": 15}
EXPLANATION = (
    "12 trials, no latency. A further model call costs what the larger run costs more, by the calls that it makes "
    "more: client, transport, gateway, ragas, LlamaIndex and MLflow, without the start of processes. `calls` are "
    "those that arrive at the provider. `metered calls` are all that trials made, answered by the provider or from "
    "the cache, each with the same work before the gateway (DREAM's check of the models is not among them)."
)


def measure(sizes: Sizes) -> str:
    few, many = (1, 3) if sizes.quick else (10, 50)
    if not sizes.quick:
        rehearse(sizes, sizes.golden(many))
    rows: list[Mapping[str, object]] = []
    goals = [line for engine in FIRST_ANSWER for line in _measure(sizes, few, many, engine, rows)]
    return "\n\n".join([EXPLANATION, table(rows), "\n".join(goals)])


def _measure(sizes: Sizes, few: int, many: int, engine: str, rows: list[Mapping[str, object]]) -> list[str]:
    """The goals of an engine; adds a row for each number of questions."""
    runs = []
    for n in (few, many):
        with provider(0.0, sizes.answers) as at:
            progress(f"overhead: {engine}, {n} questions, no latency")
            run = dream(at, sizes.golden(n), sizes.fresh_home(), "--engine", engine)
        runs.append(run)
        rows.append(
            {
                "engine": engine,
                "questions": n,
                "wall s": run.wall,
                "CPU s": run.cpu,
                "provider CPU s": run.counters["cpu_seconds"],
                "calls": run.counters["calls"],
                "metered calls": run.output["metered"].get("calls"),
                "metered as cached": run.output["metered"].get("cached"),
                "CPU ms a call, start included": run.cpu / run.counters["calls"] * 1000,
                "first question answered after s": run.seconds_to_first_question(),
                "peak MB": run.peak_mb,
                "unscored": run.output["unscored"],
            }
        )
    more_cpu = (runs[1].cpu - runs[0].cpu) * 1000
    made, paid = (
        more_cpu / (count(runs[1]) - count(runs[0]))
        for count in (lambda run: run.output["metered"]["calls"], lambda run: run.counters["calls"])
    )
    first = runs[0].seconds_to_first_question()
    seconds = FIRST_ANSWER[engine]
    return [
        goal(f"{engine}: CPU milliseconds of a further model call, all in, under 8", made, made < 8),
        f"- {engine}: the same by calls that reached the provider: {paid:.1f} ms.",
        goal(f"{engine}: first answer within {seconds} s", first, bool(first and first <= seconds)),
    ]


if __name__ == "__main__":
    run_sections({TITLE: measure}, __doc__)
