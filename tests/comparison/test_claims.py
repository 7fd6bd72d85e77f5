"""Sentences about errors in the README, the terminal and the report are borne out by rows of the benchmarks.

A claim is a part of a sentence, and the cells that have to agree with it. No sentence about confidence, power or
simulations stands without a claim.
"""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy
import pytest
from simulated import experiment, mixed

from dream.comparison import compare, comparison_text, leaderboard_of
from dream.reporting import report_html

ROOT = Path(__file__).parents[2]
SENTENCE_ABOUT_ERRORS = re.compile(
    r"\d %[^|]*\b(confiden\w*|intervals?|power|errors?)\b|\b(confidence|power|error)\b[^|]*\d %"
    r"|\bsimulat(?:ed|ions of)\b",
    re.DOTALL,
)
# Simulated in tests/experiments/test_mean_so_far.py; or it only names a page.
ELSEWHERE = ("all of a trial's intervals hold together", "has simulations of how often")


def at_most(limit: float) -> Callable[[float, float], bool]:
    return lambda value, error: value - error <= limit


def at_least(limit: float) -> Callable[[float, float], bool]:
    return lambda value, error: value + error >= limit


@dataclass(frozen=True)
class Claim:
    """A part of a sentence, and the columns of a section of a benchmark's page in which every cell bears it out.

    `rows` are those with one of these words, by default all of the section's tables with the column.
    """

    says: str
    page: str
    section: str
    column: str
    holds: Callable[[float, float], bool]
    rows: tuple[str, ...] = ("",)


SET = ("95 % confidence: a model confidence set", "holds the truly best trial with 95 % confidence")
CLAIMS = (
    *(Claim(says, "choosing", "Identical systems", "some trial left out of the set", at_most(5)) for says in SET),
    *(Claim(says, "choosing", "Few documents", "equal: some trial left out", at_most(5)) for says in SET),
    *(Claim(says, "choosing", "Few documents", "0.25: a good one too", at_most(5)) for says in SET),
    *(Claim(says, "choosing", "Coverage", "the best is in the set", at_least(95)) for says in SET),
    *(
        Claim(says, "choosing", "Coverage", "all against the picked best", at_least(95))
        for says in (
            "95 % confidence intervals are simultaneous",
            "95 % confidence intervals of the paired difference",
            "shown to be worse than the best (the 95 % interval",
        )
    ),
    Claim("paired differences with 95 % intervals", "choosing", "Coverage", "a pair named beforehand", at_least(95)),
    *(
        Claim(says, "choosing", "Power", "shown in", at_least(75))
        for says in ("(80 % power)", "80 % power to leave out a trial", "can show with 80 % power")
    ),
    Claim("(in 93 to 95 % of simulated experiments)", "calibration", "", "a mean", at_least(93), ("each trial",)),
    Claim("(in 93 to 95 % of simulated experiments)", "calibration", "", "a mean", at_most(95), ("each trial",)),
    Claim(
        "The race is tested at 2.5 %", "racing", "", "any", at_most(2.5), ("normal", "skewed", "zero", "binary", "ties")
    ),
    Claim("left in 0 to 2.9 % of races", "racing", "", "any", at_most(2.9), ("equals", "half", "effects", "skewed")),
    Claim("but in 11 % where one of two trials", "racing", "", "any", at_most(11), ("pair",)),
    Claim("it saves 35 % of the calls with 40 documents", "racing", "", "saved", at_least(35), ("effects | many",)),
    Claim("13 % with 12,", "racing", "", "saved", at_least(12.5), ("effects | few",)),
)
FLATTERY = "68 to 93 % where all are alike or differ evenly, 39 to 63 % where half of them are plainly worse"


@cache
def texts() -> dict[str, str]:
    """The texts that make claims, by their name."""
    values = mixed(numpy.random.default_rng(4), 80, numpy.linspace(0, 0.4, 12))
    outcome = experiment({"m": values}, name="exp", files=[f"{place // 4}.pdf" for place in range(80)])
    compared = compare(outcome, "m")
    page = re.sub(r"<(script|style).*?</\1>", "", report_html(outcome, compared), flags=re.DOTALL)
    return {
        "README.md": (ROOT / "README.md").read_text(encoding="utf-8"),
        "terminal": comparison_text(compared, leaderboard_of(compared, outcome)),
        "report": html.unescape(re.sub(r"<[^>]+>", "\n", page)),
    }


def cells(page: str, section: str, column: str, rows: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """The value and its error of each row of a section's table, by the text of the row."""
    text = (ROOT / "tests/benchmarks" / f"{page}.md").read_text(encoding="utf-8")
    part = text.split(f"\n## {section}\n")[1].split("\n## ")[0] if section else text
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"]
    place = lines[0].index(column)
    found = {}
    for line in lines[2:]:
        numbers = re.findall(r"[-+]?\d+(?:\.\d+)?", line[place])
        if numbers and any(word in " | ".join(line) for word in rows):
            found[" | ".join(line)] = (float(numbers[0]), float(numbers[1]) if len(numbers) > 1 else 0.0)
    return found


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.says}: {claim.column}")
def test_a_claim_is_borne_out(claim: Claim):
    assert any(claim.says in text for text in texts().values())
    found = cells(claim.page, claim.section, claim.column, claim.rows)
    assert found
    assert {row: cell for row, cell in found.items() if not claim.holds(*cell)} == {}


def test_the_share_of_the_flattery_that_is_removed_is_borne_out():
    assert FLATTERY in texts()["README.md"]
    raw, shrunken = (cells("flattery", "", column, ("",)) for column in ("raw", "shrunken"))
    removed = {row: 1 - shrunken[row][0] / raw[row][0] for row in raw}
    half = {row: share for row, share in removed.items() if "weak LLM" in row}
    rest = [share for row, share in removed.items() if row not in half]
    assert (round(min(rest), 2), round(max(rest), 2)) == (0.68, 0.93)
    assert (round(min(half.values()), 2), round(max(half.values()), 2)) == (0.39, 0.63)
    assert "in 34 of 36 rows" in texts()["README.md"]
    held_out = cells("flattery", "", "held out", ("",)).values()
    assert (sum(abs(value) <= error for value, error in held_out), len(held_out)) == (34, 36)


@pytest.mark.parametrize("name", ["README.md", "terminal", "report"])
def test_no_sentence_about_errors_is_without_a_claim(name: str):
    parts = re.split(r"(?<=[.:;])\s+(?=[A-Z`])|\n+", texts()[name])
    sentences = [part for part in parts if len(part.split()) > 3]  # no headings of columns
    about = [
        one for one in sentences if SENTENCE_ABOUT_ERRORS.search(one) and not any(each in one for each in ELSEWHERE)
    ]
    assert [
        one for one in about if not any(says in one for says in (*(claim.says for claim in CLAIMS), FLATTERY))
    ] == []
    assert about
