"""The original procedure against DREAM: the same trials, documents, questions, judge metrics and provider.

python -m tests.benchmarks.against_the_original --full
"""

from collections.abc import Mapping

from tests.benchmarks.common import Run, Sizes, dream, goal, measured, progress, provider, rehearse, run_sections, table

TITLE = "Against the original procedure"
QUESTIONS, LATENCIES = (10, 100), (0.2, 1.0)
DREAMS = {
    "DREAM, same sizes": ("--engine", "in_process", "--original-sizes"),
    "DREAM": ("--engine", "in_process"),
    "DREAM on a local Ray": ("--engine", "ray"),
}
# The rest of the goals for each engine: seconds to the first answer, and megabytes.
FIRST_ANSWER, PEAK = {"in_process": 8, "ray": 15}, {"in_process": 1500}


def measure(sizes: Sizes) -> str:
    rows, goals = [], []
    for n in (3,) if sizes.quick else QUESTIONS:
        if not sizes.quick:
            for name, options in DREAMS.items():
                if name != "DREAM on a local Ray":  # it makes the calls of "DREAM"
                    rehearse(sizes, sizes.golden(n), *options)
        for latency in (0.05,) if sizes.quick else LATENCIES:
            case = {"questions": n, "LLM call": f"{latency * 1000:.0f} ms"}
            original = _run(sizes, n, latency, "original")
            rows.append({**case, "": "original", **_measures(original, latency), "speed-up": 1.0})
            for name, options in DREAMS.items():
                ours = _run(sizes, n, latency, name, *options)
                speed_up = original.wall / ours.wall
                rows.append({**case, "": name, **_measures(ours, latency), "speed-up": speed_up})
                goals += _goals(name, n, latency, speed_up, ours, options[1])
    return "\n\n".join([EXPLANATION, table(rows), "\n".join(goals)])


EXPLANATION = (
    "12 trials, cold start included. DREAM runs in one process except where it says so. `DREAM, same sizes` has the "
    "original's chunk sizes and three passages a question; `DREAM` its own defaults, which read more and shorter "
    "passages, each judged in a call of its own. `limit` = the larger of the longest chain of latencies (3.2 LLM "
    "calls) and all distinct calls at 256 at a time; `of the limit` = limit / wall. `paid / unique` = calls / distinct "
    "calls. `provider CPU` is no part of `CPU`, but shares the machine. `unscored` counts scores that are missing in "
    "trials that did not fail."
)


def _run(sizes: Sizes, n: int, latency: float, name: str, *options: str) -> Run:
    golden = sizes.golden(n)
    with provider(latency, sizes.answers) as at:
        progress(f"{name}: {n} questions, {latency * 1000:.0f} ms")
        if name == "original":
            return measured("original_procedure", "--base-url", at.base_url, "--questions", golden, at=at)
        return dream(at, golden, sizes.fresh_home(), *options)


def _measures(run: Run, latency: float) -> Mapping[str, object]:
    counters, limit = run.counters, run.limit(latency)
    unscored = (
        run.output["unscored"] if isinstance(run.output, dict) else sum(trial["unscored"] for trial in run.output)
    )
    return {
        "wall s": run.wall,
        "CPU s": run.cpu,
        "peak MB": run.peak_mb,
        "first answer s": run.seconds_to_first_question(),
        "provider CPU s": counters["cpu_seconds"],
        "calls": counters["calls"],
        "distinct": counters["distinct"],
        "paid / unique": run.paid_per_unique,
        "texts embedded": counters["texts"],
        "distinct texts": counters["distinct_texts"],
        "most in flight": counters["in_flight_most"],
        "unscored": unscored,
        "failed trials": len(run.output["failed"]) if isinstance(run.output, dict) else 0,
        "limit s": limit,
        "of the limit": limit / run.wall,
    }


def _goals(name: str, n: int, latency: float, speed_up: float, ours: Run, engine: str) -> list[str]:
    case = f"{name}, {n} questions, {latency:g} s"
    first, peak = ours.seconds_to_first_question(), ours.peak_mb
    if n == 10 and latency == 1:
        seconds = FIRST_ANSWER[engine]
        return [
            goal(f"{case}: at least 4 times faster", speed_up, speed_up >= 4),
            goal(f"{case}: first answer within {seconds} s", first, bool(first and first <= seconds)),
        ]
    if n == 100 and latency == 1:
        share = ours.limit(latency) / ours.wall
        return [
            goal(f"{case}: at least 10 times faster", speed_up, speed_up >= 10),
            goal(f"{case}: at least 0.75 of the limit", share, share >= 0.75),
            goal(f"{case}: paid / unique at most 1.00", ours.paid_per_unique, ours.paid_per_unique < 1.005),
            *(goal(f"{case}: peak memory under {most} MB", peak, peak < most) for most in [PEAK.get(engine)] if most),
        ]
    return []


if __name__ == "__main__":
    run_sections({TITLE: measure}, __doc__)
