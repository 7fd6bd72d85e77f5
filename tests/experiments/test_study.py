"""A study gives way to the settings for what it does not say."""

import pytest

from dream.experiments.spec import ExperimentSpec
from dream.experiments.study import asked
from dream.experiments.study_reader import study_of
from dream.settings import Settings

SETTINGS = Settings.from_environment(
    {
        "OPENAI_API_KEY": "k",
        "DREAM_LLMS": "a,b",
        "DREAM_EMBED_MODELS": "e",
        "DREAM_BUDGET_CALLS": "100",
        "DREAM_BUDGET_USD": "3",
    }
)


def test_models_of_the_settings_are_used_where_neither_study_nor_system_names_any():
    study = study_of(
        "models: {embed_models: [f]}\nsystems:\n  - sentence_window\n  - {method: chunks_with_overlap, llms: [c]}"
    )
    trials = study.spec(SETTINGS).search_space.trials()
    assert [(t.query_engine_identifier[:8], t.llm_identifier, t.embed_model_identifier) for t in trials] == [
        ("sentence", "a", "f"), ("sentence", "b", "f"), ("chunks_w", "c", "f"),
    ]  # fmt: skip


def test_a_limit_of_the_study_replaces_that_of_the_settings_alone():
    budget = study_of("systems: [sentence_window]\nbudget: {usd: 20}").applied_to(SETTINGS).budget
    assert (budget.usd, budget.calls, budget.tokens) == (20, 100, None)


def test_a_study_is_a_spec_with_settings_and_takes_no_further_options():
    study = study_of("systems: [sentence_window]\nengine: ray")
    spec, settings = asked(study, {}, SETTINGS)
    assert isinstance(spec, ExperimentSpec)
    assert (settings.engine, spec.study) == ("ray", study.text)
    assert asked(spec, {}, SETTINGS) == (spec, SETTINGS)
    with pytest.raises(TypeError, match="strictness cannot be combined with an ExperimentSpec"):
        asked(study, {"strictness": 2}, SETTINGS)
