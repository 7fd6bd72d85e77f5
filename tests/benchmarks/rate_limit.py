"""DREAM under a rate limit: how close to what the provider lets through.

python -m tests.benchmarks.rate_limit --full
"""

from tests.benchmarks.common import Sizes, dream, goal, progress, provider, rehearse, run_sections, table

TITLE = "Under a rate limit"
REQUESTS_PER_MINUTE = 500
LATENCY = 0.2


def measure(sizes: Sizes) -> str:
    n, rate = (3, 1200) if sizes.quick else (30, REQUESTS_PER_MINUTE)
    golden = sizes.golden(n)
    if not sizes.quick:
        rehearse(sizes, golden)
    with provider(LATENCY, sizes.answers, requests_per_minute=rate) as at:
        progress(f"rate limit: {n} questions, {rate} requests a minute")
        run = dream(at, golden, sizes.fresh_home())
    counters = run.counters
    least = counters["distinct"] / (rate / 60)
    calling = (counters["last_answer_at"] - counters["first_call_at"]) / least
    row = {
        "questions": n,
        "requests a minute": rate,
        "wall s": run.wall,
        "calls": counters["calls"],
        "distinct": counters["distinct"],
        "paid / unique": run.paid_per_unique,
        "refused (429)": counters["refused"],
        "least s": least,
        "wall / least": run.wall / least,
        "first to last call / least": calling,
        "unscored": run.output["unscored"],
        "failed trials": len(run.output["failed"]),
    }
    explanation = (
        "12 trials; the provider answers 429 with Retry-After above the limit, and names the limit in a header. "
        "`least` = distinct calls / rate."
    )
    lost = run.output["unscored"] + len(run.output["failed"])
    goals = [
        goal("wall / (distinct calls / rate) at most 1.1", run.wall / least, not lost and run.wall / least <= 1.1),
        goal("scores missing and trials failed 0 (else the ratio counts for nothing)", lost, lost == 0),
    ]
    return "\n\n".join([explanation, table([row]), "\n".join(goals)])


if __name__ == "__main__":
    run_sections({TITLE: measure}, __doc__)
