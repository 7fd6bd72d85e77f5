"""What a generation costs, before it is paid; `test_tasks.py` compares it with what is sent."""

from pathlib import Path

import pytest

from dream.errors import ConfigurationError, DataError
from dream.golden import plan_golden_dataset
from dream.golden.allotment import SINGLE_HOP, FileText, allot
from dream.golden.planning import plan_generation
from dream.settings import Settings

REPORT = FileText("report.pdf", 137 * 600)


def test_three_questions_on_a_long_report_read_twelve_pieces(home: Settings):
    plan = plan_generation([REPORT], 3, 0, home)
    assert (plan.files, plan.files_asked, plan.pieces, sum(plan.kinds.values())) == (1, 1, 12, 3)
    llm, embed_model = plan.calls
    # summary, themes, names; three readers; who asks (and what to combine); the questions
    assert llm.calls == 12 * 3 + 3 + 4 + 3
    assert embed_model.calls == 12
    assert 12 * 3 * 600 < llm.tokens < 12 * 3 * 600 * 2.5
    assert "3 questions from 1 of 1 files: " in str(plan)


def test_usd_follow_from_the_prices(home: Settings, tmp_path: Path):
    environment = {"DREAM_HOME": str(tmp_path), "OPENAI_API_KEY": "k", "DREAM_GENERATOR_LLM": "gpt-4o-mini"}
    plan = plan_generation([REPORT], 3, 0, Settings.from_environment(environment))
    assert plan.usd
    assert 0.004 < plan.usd < 0.04
    unknown = plan_generation([REPORT], 3, 0, Settings.from_environment({**environment, "DREAM_GENERATOR_LLM": "mine"}))
    assert unknown.usd is None
    assert "USD: unknown, because a price is missing" in str(unknown)


def test_what_cannot_be_is_told_before(home: Settings):
    plan = plan_generation([FileText("note.txt", 300)], 3, 0, home, ["tiny.txt: 3 tokens"])
    assert plan.kinds == {SINGLE_HOP: 3}
    assert [note.split(":")[0] for note in plan.notes] == ["tiny.txt", "0 of 2 multi-hop questions"]


def test_the_plan_is_of_the_batches_that_are_run(home: Settings):
    files = [FileText(f"{i:02}.txt", 450) for i in range(60)]
    plan, batches = plan_generation(files, 10, 7, home), allot(files, 10, 7)
    assert plan.pieces == sum(batch.pieces for batch in batches)
    assert plan.files_asked == len({file for batch in batches for file in batch.files})


def test_a_plan_refuses_what_generating_refuses(home: Settings, tmp_path: Path):
    (tmp_path / "short.txt").write_text("Short.")
    with pytest.raises(DataError, match=r"short.txt: \d tokens; at least 100 are needed"):
        plan_golden_dataset(3, documents_uri=str(tmp_path), settings=home)
    with pytest.raises(ConfigurationError, match="n_questions=0"):
        plan_golden_dataset(0, documents_uri=str(tmp_path), settings=home)
