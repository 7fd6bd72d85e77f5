"""A running Ray cluster: first answers on it, one and two nodes, and what one gateway carries.

python -m tests.benchmarks.on_cluster --full
"""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.common import (
    DOCUMENTS,
    Sizes,
    dream,
    goal,
    measured,
    progress,
    provider,
    rehearse,
    run_sections,
    table,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ray_cluster import started_cluster

FIRST_TITLE, NODES_TITLE, GATEWAY_TITLE = "On a running cluster", "One node and two", "What one gateway carries"
FIRST_ANSWER = 8


def measure_first_answers(sizes: Sizes) -> str:
    n, latency = (1, 0.05) if sizes.quick else (10, 0.2)
    golden = sizes.golden(n)
    if not sizes.quick:
        rehearse(sizes, golden)
    rows: list[Mapping[str, object]] = []
    goals = []
    with started_cluster(2) as cluster:
        for kind, address in (("its own address", f"127.0.0.1:{cluster.port}"), ("Ray Client", cluster.address)):
            for which in ("first", "second"):
                with provider(latency, sizes.answers) as at:
                    progress(f"running cluster by {kind}, {which} experiment")
                    run = dream(at, golden, sizes.fresh_home(), *_on(address))
                first = run.seconds_to_first_question()
                rows.append({"reached by": kind, "experiment": which, "first answer s": first, "wall s": run.wall})
                met = bool(first and first <= FIRST_ANSWER)
                goals.append(goal(f"{kind}, {which}: first answer within {FIRST_ANSWER} s", first, met))
    explanation = (
        f"{n} questions, 12 trials, {latency * 1000:.0f} ms an LLM call; a head with two CPUs that is up, driver and "
        "cluster on the same two cores. Nothing is cached in either experiment; each starts its own workers."
    )
    return "\n\n".join([explanation, table(rows), "\n".join(goals)])


def measure_nodes(sizes: Sizes) -> str:
    n, latency = (1, 0.05) if sizes.quick else (10, 0.2)
    golden = sizes.golden(n)
    rows: list[Mapping[str, object]] = []
    for trials in (12,) if sizes.quick else (12, 48, 192):
        if not sizes.quick:
            rehearse(sizes, golden, "--trials", trials)
        for nodes in (1, 2):
            with started_cluster(1) as cluster, ExitStack() as second:
                if nodes == 2:
                    second.enter_context(cluster.second_node())
                with provider(latency, sizes.answers) as at:
                    progress(f"{nodes} node(s), {trials} trials")
                    address = f"127.0.0.1:{cluster.port}"
                    run = dream(at, golden, sizes.fresh_home(), "--trials", trials, *_on(address))
            rows.append(
                {
                    "trials": trials,
                    "nodes": nodes,
                    "wall s": run.wall,
                    "s a trial": run.wall / trials,
                    "calls": run.counters["calls"],
                    "paid / unique": run.paid_per_unique,
                    "unscored": run.output["unscored"],
                }
            )
    explanation = (
        f"{n} questions, {latency * 1000:.0f} ms an LLM call; nodes of one CPU each, processes of their own on the "
        "same two cores. The cluster is up before."
    )
    return "\n\n".join([explanation, table(rows)])


def measure_gateway(sizes: Sizes) -> str:
    calls = 50 if sizes.quick else 6000
    rows: list[Mapping[str, object]] = []
    for senders in (0, 1, 2):  # a local Ray has two CPUs here, one for each
        with provider(0.0, sizes.answers) as at:
            progress(f"gateway: {senders} sender(s)")
            each = calls // max(senders, 1)
            for _ in range(2):  # the provider computes its answers the first time
                home = sizes.fresh_home()
                options = ("--base-url", at.base_url, "--home", home, "--senders", senders, "--calls", each)
                run = measured("gateway_load", *options, at=at)
        made, seconds = run.output["calls"], run.output["wall"]
        rows.append(
            {
                "gateway": "in the process that sends" if senders == 0 else "on Ray",
                "processes that send": max(senders, 1),
                "calls": made,
                "seconds": seconds,
                "calls a second": made / seconds,
                "provider CPU s": run.counters["cpu_seconds"],
            }
        )
    explanation = (
        "Distinct LLM calls of some 400 words that are answered at once, 128 under way for each process that sends, "
        "through one gateway with its cache in a folder; provider, gateway and senders share two cores."
    )
    return "\n\n".join([explanation, table(rows)])


def _on(address: str) -> tuple[object, ...]:
    return "--engine", "ray", "--ray-address", address, "--documents", DOCUMENTS


SECTIONS = {FIRST_TITLE: measure_first_answers, NODES_TITLE: measure_nodes, GATEWAY_TITLE: measure_gateway}

if __name__ == "__main__":
    run_sections(SECTIONS, __doc__)
