"""The report: what it says, that nothing in it is markup but its own, and that a browser shows it without complaint."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import numpy
import pytest
from browser import Tab
from outline import Outline
from simulated import experiment, grid, mixed

from dream.cli.main import main
from dream.comparison.comparison import compare
from dream.experiments.store import save_manifest, save_result, save_usage
from dream.ray_cluster import Cluster
from dream.records import (
    CLOSED_BOOK,
    ORACLE,
    DocumentSet,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    GoldenDataset,
    HoldOut,
    LeftRace,
    Look,
    Passage,
    Plan,
    PlannedCalls,
    Race,
    Sift,
    SiftedRetrieval,
    Trial,
    TrialResult,
    UsageRow,
)
from dream.reporting.report import SECTIONS, failure_html, report_html
from dream.reporting.sections import N_WORST
from dream.settings import Settings
from dream.storage import open_storage

pytestmark = pytest.mark.whole

EVIL = "<script>document.title='taken over'</script><img src=x onerror=alert(1)>"
GONE_AWAY = Failure(FailureKind.SERVICE, "ServiceError: gone away")
NO_ANSWER = Failure(FailureKind.SERVICE, "ServiceError: no answer")
IDS = ["recommendation", "standings", "metrics", "factors", "power", "fairness", "pictures"]
IDS += ["worst", "failures", "run", "cost"]
METER = UsageRow("openai", "llm-0", "answer", "", 100, 40, 63, 3, 2, 12_000, 345, 1, 1, 1.0)


def made(n_trials: int = 4, n_questions: int = 30, offline: bool = False) -> ExperimentResult:
    """Trials that grow better with their place, with prices, contexts, a meter, and one judgement that failed."""
    random = numpy.random.default_rng(7)
    values = mixed(random, n_questions, numpy.linspace(-0.3, 0.2, n_trials))
    values[3, -1] = numpy.nan
    scores = {"answer_correctness": values, "faithfulness": random.random((n_questions, n_trials))}
    plain = experiment(scores, usd=list(random.uniform(0.001, 0.02, n_trials)))
    passage = Passage("what the handbook says", "handbook.pdf", "7", 0.51, 120)
    results = []
    for one in plain.results:
        assert one.evaluation
        answers = tuple(replace(answer, contexts=(passage,)) for answer in one.evaluation.answers)
        results.append(replace(one, evaluation=Evaluation(answers, one.evaluation.scores)))
    rows = [
        replace(METER, trial="a", usd=1.5, usd_full=2.0),
        replace(METER, trial="b", usd=1.0, usd_full=2.0),
        replace(METER, endpoint="own", model="judge", stage="judge", trial="a", usd=None, usd_full=None),
    ]
    planned = PlannedCalls("llm-0", "answer", 210, usd=2.25)
    manifest = replace(
        plain.manifest,
        offline=offline,
        started=datetime(2026, 11, 25, 10, tzinfo=UTC),
        endpoints={"llm-0": "https://me:hunter2@models.example/v1"},
        documents=DocumentSet("s3://documents/samples", "d0c5"),
        cluster=Cluster("local", nodes=3, cpus=12),
        versions={"ragas": "0.4.3"},
        plan=Plan(n_trials, n_questions, 1, 0, 10, (planned,), 2.25, 1.0),
    )
    return ExperimentResult(plain.name, manifest, tuple(results), tuple(rows))


def changed(outcome: ExperimentResult, place: int, question: int, **what: object) -> ExperimentResult:
    """The same experiment with one answer changed."""
    results = list(outcome.results)
    evaluation = results[place].evaluation
    assert evaluation
    answers = list(evaluation.answers)
    answers[question] = replace(answers[question], **what)  # pyright: ignore[reportArgumentType]
    results[place] = replace(results[place], evaluation=Evaluation(tuple(answers), evaluation.scores))
    return replace(outcome, results=tuple(results))


def plain_text(html: str) -> str:
    """The page's words, without plotly's script and the pictures' data, white space made single."""
    without = re.sub(r"<(script|style|noscript)\b.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", without)).split())


@pytest.fixture(scope="module")
def outcome() -> ExperimentResult:
    return made()


@pytest.fixture(scope="module")
def page(outcome: ExperimentResult) -> str:
    return report_html(outcome)


def test_the_page_has_one_headline_and_a_link_to_each_section(page: str):
    outline = Outline(page)
    assert len(outline.all("h1")) == 1
    assert [one["id"] for one in outline.all("section")] == IDS
    assert [one["href"] for one in outline.all("a")] == [f"#{name}" for name in IDS]


def with_repeats_and_baselines(plain: ExperimentResult) -> ExperimentResult:
    """Every first score judged again, 0.1 lower; closed-book at 0.2 and oracle at 0.9 for each LLM."""
    results = []
    for one in plain.results:
        assert one.evaluation
        again = tuple(
            replace(score, value=max((score.value or 0.0) - 0.1, 0.0), repeat=1) for score in one.evaluation.scores
        )
        results.append(replace(one, evaluation=replace(one.evaluation, repeats=again)))
    baselines = []
    for llm in dict.fromkeys(one.trial.llm_identifier for one in results):
        for name, value in ((CLOSED_BOOK, 0.2), (ORACLE, 0.9)):
            template = results[0].evaluation
            assert template
            scores = tuple(replace(score, value=value) for score in template.scores)
            baselines.append(TrialResult(Trial(name, llm, ""), Evaluation(template.answers, scores)))
    return replace(plain, results=tuple(results), baselines=tuple(baselines))


def test_all_that_an_experiment_can_have_has_sections_of_its_own(outcome: ExperimentResult):
    whole = with_repeats_and_baselines(outcome)
    sift = Sift(
        "recall", True, 12, (SiftedRetrieval(Trial("bm25", "", ""), ("a",), True, "the best", 12, {"recall": 1}),)
    )
    hold_out = HoldOut(0.5, 0, whole.manifest.questions)
    ids = [trial.id for trial in whole.manifest.trials]
    left = LeftRace(ids[1], ids[0], -0.2, -0.3, -0.1)
    race = Race("m", 1, 1, 0.025, order=("a", "b"), looks=(Look(1, 1, 0.01, 0.15, is_done=True, left=(left,)),))
    manifest = replace(whole.manifest, sift=sift, hold_out=hold_out, race=race)
    page = report_html(replace(whole, manifest=manifest, held_out=whole.results))
    ids = [one["id"] for one in Outline(page).all("section")]
    assert ids == [IDS[0], "confirmation", *IDS[1:5], "noise", "losses", *IDS[5:7], "sift", "race", *IDS[7:]]
    assert "Sifted by recall on 12 questions" in page
    assert "1 trial(s) left at 1 look(s)" in page and "-0.200 [-0.300, -0.100]" in page and "97.5 % confid" in page
    assert "that the search never saw, the recommended trial has" in page
    # that of labels is in tests/comparison/test_calibration.py, that of a search in experiments/test_search_rounds.py
    assert len(SECTIONS) == len(ids) + 2
    text = plain_text(page)
    assert "Judge noise" in text
    assert "0.100 (+0.100 to +0.100)" in text  # generation: 1 - 0.9
    assert "the judge accounts for" in text


def test_the_recommendation_comes_first_with_its_reason(outcome: ExperimentResult, page: str):
    found, text = compare(outcome), plain_text(page)
    trial = found.recommendation.trial
    assert f"RAG method {trial.query_engine_identifier} LLM {trial.llm_identifier}" in text
    reason = found.recommendation.why
    assert reason[1:] in text
    assert text.index(reason[1:]) < text.index("Ranking of the trials", text.index("Ranking of the trials") + 1)
    doubt = found.recommendation.doubt
    assert doubt and text.index(f"Not settled: {doubt}") < text.index("Use so far")


def test_standings_show_intervals_the_set_cost_and_failures(outcome: ExperimentResult, page: str):
    found, text = compare(outcome), plain_text(page)
    other = found.ranked[1].difference
    assert other and f"{other.low:+.3f} to {other.high:+.3f}" in text
    assert "29 of 30 0 1" in text  # the trial whose judge failed once: scored, failed, missing
    assert f"{1000 * (found.recommended.cost.usd or 0):,.2f}" in text
    verdicts = [one for one in Outline(page).texts["td"] if one in ("may be as good", "shown to be worse")]
    assert len(verdicts) == 4 - len({found.best.trial.id, found.recommended.trial.id})
    assert page.count('<tr class="chosen">') == 1


def test_power_says_what_the_questions_show_and_how_many_are_needed(outcome: ExperimentResult, page: str):
    power, text = compare(outcome).power, plain_text(page)
    assert power and power.smallest
    assert f"{power.smallest:.3f} (80 % power" in text
    for difference, n in power.needed.items():
        assert f"{difference:.2f} {n:,}" in text


def test_the_worst_questions_of_the_recommended_trial_come_with_everything(outcome: ExperimentResult):
    found = compare(outcome)
    place = outcome.results.index(found.scores.results[found.standings.index(found.recommended)])
    evaluation = outcome.results[place].evaluation
    assert evaluation
    scores = tuple(replace(one, reason=f"because of {one.metric} in {one.question_id}") for one in evaluation.scores)
    results = list(outcome.results)
    results[place] = replace(results[place], evaluation=Evaluation(evaluation.answers, scores))
    broken = changed(
        replace(outcome, results=tuple(results)),
        place,
        9,
        text=None,
        failure=Failure(FailureKind.SERVICE, "ServiceError: gone away"),
    )
    html = report_html(broken, found := compare(broken))
    headlines = Outline(html).texts["h3"]
    values = found.scores.values[:, found.standings.index(found.recommended)]
    rest = sorted(value for row, value in enumerate(values) if row != 9 and not numpy.isnan(value))
    shown = [values[9], *rest[: N_WORST - 1]]  # the question without an answer comes first
    assert headlines == [f"{n}. answer_correctness {value:.3f}" for n, value in enumerate(shown, 1)]
    text = plain_text(html)
    assert "question question 9 ground truth truth error ServiceError: gone away" in text
    assert "context 1: handbook.pdf, page 7 (120 tokens, retrieval score 0.510) what the handbook says" in text
    assert "because of faithfulness in q9" in text


def test_thinking_cut_answers_and_estimates_are_shown(outcome: ExperimentResult):
    found = compare(outcome)
    place = outcome.results.index(found.scores.results[found.standings.index(found.recommended)])
    worst = int(numpy.nanargmin(found.scores.values[:, found.standings.index(found.recommended)]))
    part = Passage("The weir", "mill.pdf", "7-9", 0.5, 40, is_cut=True)
    marked = changed(outcome, place, worst, thinking="so it is 17 m", is_cut=True, contexts=(part,))
    first, *others = marked.usage
    marked = replace(marked, usage=(replace(first, estimated_tokens=1000), *others))
    text = plain_text(report_html(marked))
    assert "(cut: it reached the token limit, DREAM_MAX_ANSWER_TOKENS)" in text
    assert "mill.pdf, pages 7-9 (40 tokens, cut to fit context_tokens, retrieval score 0.500) The weir" in text
    assert "the LLM's thinking, which was not judged so it is 17 m" in text
    assert "1 answer(s) of 1 trial(s) were cut at the token limit" in text
    assert "(1,000 estimated)" in text
    assert "estimated)" not in plain_text(report_html(outcome))


def test_what_documents_models_and_users_wrote_is_text_and_not_markup(outcome: ExperimentResult):
    found = compare(outcome)
    place = outcome.results.index(found.scores.results[found.standings.index(found.recommended)])
    worst = int(numpy.nanargmin(found.scores.values[:, found.standings.index(found.recommended)]))
    evil = changed(outcome, place, worst, text=EVIL, contexts=(Passage(EVIL, EVIL, EVIL),))
    questions = tuple(replace(one, question=EVIL, ground_truth=EVIL) for one in evil.manifest.questions)
    results = [
        replace(one, trial=replace(one.trial, llm_identifier=f"{one.trial.llm_identifier}{EVIL}"))
        for one in evil.results
    ]
    results.append(
        TrialResult(replace(grid(12)[-1], llm_identifier="gone"), failure=Failure(FailureKind.EXCEPTION, EVIL))
    )
    manifest = replace(evil.manifest, golden_dataset=GoldenDataset(questions))
    evil = ExperimentResult(EVIL, manifest, tuple(results), evil.usage)
    html, clean = report_html(evil), report_html(outcome)
    assert html.count("&lt;script&gt;document.title=") > 20
    for tag in ("script", "img"):
        assert len(Outline(html).all(tag)) == len(Outline(clean).all(tag))
    assert "<script>document" not in html and "<img src=x" not in html
    assert not any(name.startswith("on") for _, attributes in Outline(html).elements for name in attributes)


def test_failures_are_listed_and_counted(outcome: ExperimentResult):
    gone = TrialResult(grid(12)[-1], failure=Failure(FailureKind.SERVICE, "ServiceError: the endpoint is gone"))
    text = plain_text(report_html(replace(outcome, results=(*outcome.results, gone))))
    assert "2 failures." in text
    assert f"{gone.trial.name} trial ServiceError: the endpoint is gone 1" in text
    assert "score: answer_correctness the judge failed 1" in text
    assert "not ranked: no score: ServiceError: the endpoint is gone" in text
    assert "5, of which 1 failed" in text
    stopped = replace(gone, failure=Failure(FailureKind.BUDGET, "BudgetError: stopped at budget of 5 USD"))
    unfinished = plain_text(report_html(replace(outcome, results=(*outcome.results, stopped))))
    assert "The experiment is not finished: BudgetError: stopped at budget of 5 USD" in unfinished


def test_what_was_run_names_everything_and_no_password(page: str):
    text = plain_text(page)
    for fact in ("2026-11-25 10:00:00 UTC", "s3://documents/samples", "SHA-256 d0c5", "ragas: 0.4.3", "cpus: 12"):
        assert fact in text
    assert "llm-0: https://models.example/v1" in text
    assert "hunter2" not in page


def test_costs_are_added_up_and_an_unknown_price_stays_unknown(page: str):
    text = plain_text(page)
    assert "llm-0 openai answer 200 80 126 6 4 24,690 2.50" in text
    assert "judge own judge 100 40 63 3 2 12,345 unknown" in text
    assert "all 300 120 189 9 6 37,035 unknown" in text
    assert "Paid: USD unknown" in text
    assert "llm-0 answer 210 2.25 200 80 126 24,690 2.50" in text  # planned, then actual


def test_offline_models_are_named_at_the_top_and_only_where_they_were_used(page: str):
    said = "the scores say nothing about a real LLM"
    assert said in plain_text(report_html(made(offline=True)))
    assert said not in plain_text(page)


def test_the_comparison_that_is_given_is_the_one_shown(outcome: ExperimentResult):
    found = compare(outcome, weights={"answer_correctness": 3, "faithfulness": 1}, margin=0.2)
    text = plain_text(report_html(outcome, found))
    assert "All trials by mean 0.75 answer_correctness + 0.25 faithfulness (0 to 1)" in text
    assert "the margin is 0.20" in text


def test_without_answer_correctness_the_first_metric_ranks():
    values = mixed(numpy.random.default_rng(0), 12, numpy.zeros(2))
    assert "All trials by mean faithfulness" in plain_text(report_html(experiment({"faithfulness": values})))


def test_one_trial_has_a_report():
    text = plain_text(report_html(made(n_trials=1)))
    assert "the only trial that could be ranked" in text
    assert "No factor has more than one level" in text
    assert "Unknown: this needs at least two ranked trials" in text


def test_where_all_failed_the_report_says_why_and_what():
    broken = made()
    gone = tuple(TrialResult(one.trial, failure=NO_ANSWER) for one in broken.results)
    html = report_html(replace(broken, results=gone))
    text = plain_text(html)
    assert "None is possible: no trial of 'simulated' has a score" in text
    assert "ServiceError: no answer" in text and "4, of which 4 failed" in text and "Paid: USD unknown" in text
    assert [one["id"] for one in Outline(html).all("section")] == [
        "recommendation",
        "fairness",
        "failures",
        "run",
        "cost",
    ]
    assert len(html) < 100_000  # no picture, so no script
    assert "None is possible: &lt;b&gt;" in failure_html(broken, "<b>")


@pytest.mark.whole
def test_two_hundred_trials_make_a_page_of_bearable_size():
    html = report_html(made(n_trials=200, n_questions=50))
    assert len(html) < 9_000_000
    assert len(re.findall(r"<tr", html)) > 400  # standings and parameters of each


def test_nothing_is_loaded_from_elsewhere_and_plotly_is_there_once(page: str):
    attributes = [(tag, name, value or "") for tag, found in Outline(page).elements for name, value in found.items()]
    loading = [one for one in attributes if one[1] in ("src", "href", "srcset", "xlink:href", "action", "data")]
    assert [one for one in loading if not one[2].startswith(("#", "data:"))] == []
    assert "default-src 'none'" in page
    assert page.count("plotly.js v") == 1
    assert "@import" not in page.split("</style>")[0] and "url(" not in page.split("</style>")[0]


def test_the_command_writes_the_report_and_refuses_a_missing_folder(tmp_path: Path, monkeypatch, capsys):
    store(made(), tmp_path, monkeypatch)
    target = tmp_path / "report.html"
    weights = ["--weights", "answer_correctness=1,faithfulness=1", "--margin", "0.3"]
    assert main(["compare", "simulated", "--html", str(target), *weights]) == 0
    assert f"Report: {target}" in capsys.readouterr().out
    assert "0.5 answer_correctness + 0.5 faithfulness" in target.read_text(encoding="utf-8")
    assert main(["compare", "simulated", "--html", str(target), "--metric", "faithfulness"]) == 0
    assert "All trials by mean faithfulness" in target.read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["compare", "simulated", "--html", str(tmp_path / "nowhere" / "report.html")]) == 1
    assert f"there is no folder {tmp_path / 'nowhere'}; make it" in capsys.readouterr().err
    assert main(["compare", "simulated", "--html", str(tmp_path)]) == 1
    assert "is a folder; name a file in it" in capsys.readouterr().err


def test_the_command_writes_a_report_even_where_nothing_can_be_ranked(tmp_path: Path, monkeypatch, capsys):
    broken = made()
    gone = tuple(TrialResult(one.trial, failure=NO_ANSWER) for one in broken.results)
    store(replace(broken, results=gone), tmp_path, monkeypatch)
    target = tmp_path / "report.html"
    assert main(["compare", "simulated", "--html", str(target)]) == 1
    assert "has a score on answer_correctness" in capsys.readouterr().err
    assert "None is possible" in target.read_text(encoding="utf-8")


def store(outcome: ExperimentResult, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep an experiment where the command line finds it."""
    monkeypatch.setenv("DREAM_HOME", str(home))
    monkeypatch.setenv("DREAM_OFFLINE", "1")
    settings = Settings.from_environment()
    storage = open_storage(settings.experiments_uri, settings)
    storage.ensure()
    save_manifest(storage, outcome.name, outcome.manifest)
    save_usage(storage, outcome.name, outcome.usage)
    for result in outcome.results:
        save_result(storage, outcome.name, result)


def test_a_browser_shows_it_without_complaint_at_any_width(chromium: Tab, tmp_path: Path):
    pages = {"few": report_html(made()), "many": report_html(made(n_trials=200, n_questions=50))}
    pages["evil"] = report_html(ExperimentResult(EVIL, *_rest(made())))
    pages["failed"] = failure_html(made(), "x" * 500)
    tab = chromium
    for name, html in pages.items():
        path = tmp_path / f"{name}.html"
        path.write_text(html, encoding="utf-8")
        for width in (390, 1280):
            tab.open(path, width)
            assert tab.complaints() == [], (name, width)
            assert tab.loaded() == [path.resolve().as_uri()]
            assert tab.value("document.documentElement.scrollWidth <= window.innerWidth"), (name, width)
            drawn = tab.value("document.querySelectorAll('.drawn .main-svg').length > 0")
            assert drawn == (name != "failed")
            assert tab.value("document.title") != "taken over"
    tab.open(tmp_path / "few.html", 1280, scripts=False)
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    found = tab.call("DOM.querySelectorAll", nodeId=root, selector="noscript svg")
    assert len(found["nodeIds"]) == 5  # without scripts the static drawings stand in


def _rest(outcome: ExperimentResult) -> tuple:
    return outcome.manifest, outcome.results, outcome.usage
