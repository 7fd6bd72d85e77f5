"""Which trial is exported, with what, and which cannot be."""

from dataclasses import replace

import pytest

from dream.errors import ConfigurationError, DataError
from dream.rag.methods import RAG_METHODS, http_system, rag_method
from dream.records import Trial
from dream.serving.export import promotion_from
from dream.settings import Settings
from dream.storage import open_storage


def test_the_recommended_trial_has_its_scores_and_its_evidence(measured):
    promotion = promotion_from(measured.experiment, measured.settings)
    assert promotion.trial == measured.good
    (result, _) = measured.experiment.results
    assert result.evaluation is not None
    means = {each.metric: each.mean for each in result.evaluation.summaries()}
    for name, scored in promotion.scores.items():
        assert scored.mean == pytest.approx(means[name], abs=1e-4)
        assert scored.low <= scored.mean <= scored.high
        assert (scored.questions, scored.failed) == (12, 0)
    assert promotion.evidence.experiment == "measured"
    assert promotion.reason and promotion.replaces is None
    assert promotion.index in {
        item.key.split("/")[1] for item in open_storage(measured.settings.cache_uri, measured.settings).list("indexes/")
    }


def test_another_trial_can_be_named_and_what_it_replaces_is_noted(measured):
    first = measured.promotion()
    second = measured.promotion(measured.bad[:6], replaces=first)
    assert (second.trial, second.reason) == (measured.bad, "")
    assert second.replaces is not None and second.replaces.trial == measured.good
    again = measured.promotion(measured.bad, replaces=second)
    assert again == second  # the same trial again: what it replaced is still known
    with pytest.raises(ConfigurationError, match=r"nothing of 'measured' was exported:\n.*'nobody' is not a trial"):
        measured.promotion("nobody")


def test_no_key_gets_into_the_file(measured):
    secret = "a-key-that-must-not-be-found"
    settings = Settings.from_environment(
        {**measured.environment, "DREAM_ENDPOINT_X_BASE_URL": "http://x.example/v1", "DREAM_ENDPOINT_X_API_KEY": secret,
         "MLFLOW_TRACKING_URI": "postgresql://me:mlflow-password@db/mlflow"}
    )  # fmt: skip
    assert "mlflow-password" not in promotion_from(measured.experiment, settings).to_yaml()
    named = replace(measured.experiment.manifest, versions={"note": secret})
    with pytest.raises(ConfigurationError, match="would contain an API key of the settings"):
        promotion_from(replace(measured.experiment, manifest=named), settings)


def test_a_word_that_stands_for_no_key_may_be_in_the_file(measured):
    no_key = {"DREAM_ENDPOINT_X_BASE_URL": "http://x.example/v1", "DREAM_ENDPOINT_X_API_KEY": "none"}
    settings = Settings.from_environment({**measured.environment, **no_key})
    named = replace(measured.experiment.manifest, versions={"note": "none"})
    assert promotion_from(replace(measured.experiment, manifest=named), settings).trial


def test_documents_that_have_changed_are_told(measured):
    documents = replace(measured.experiment.manifest.documents, digest="f" * 64)
    changed = replace(measured.experiment, manifest=replace(measured.experiment.manifest, documents=documents))
    with pytest.raises(DataError, match="have changed since 'measured': its scores do not apply to"):
        promotion_from(changed, measured.settings)


def of_method(measured, name: str, parameters: dict, study: str = ""):
    """The experiment as if its first trial had used another method."""
    first, *_ = measured.experiment.results
    trial = Trial(name, first.trial.llm_identifier, "", parameters)
    manifest = replace(measured.experiment.manifest, trials=(trial,), study=study)
    return replace(measured.experiment, manifest=manifest, results=(replace(first, trial=trial),))


def test_a_method_of_ones_own_is_named_by_its_module_or_refused_with_the_remedy(measured):
    @rag_method("overlapping_chunks", chunk_size=128, chunk_overlap=0, top_k=2, needs_vectors=False)
    def in_a_notebook(index, llm, *, top_k: int):
        raise NotImplementedError

    own = of_method(measured, "in_a_notebook", {"chunk_size": 128, "chunk_overlap": 0, "top_k": 2})
    in_a_notebook.__module__ = "__main__"
    with pytest.raises(ConfigurationError, match=r"'in_a_notebook' is defined in a notebook or script.*move it into a"):
        promotion_from(own, measured.settings)
    in_a_notebook.__module__ = "json"  # a module that can be imported
    with pytest.raises(ConfigurationError, match="'in_a_notebook' is defined inside a function, so a server cannot"):
        promotion_from(own, measured.settings)
    in_a_notebook.__qualname__ = "in_a_notebook"
    assert promotion_from(own, measured.settings).method == "json:in_a_notebook"
    named = "systems: [{method: [hybrid, 'json:in_a_notebook']}]"
    own = of_method(measured, "in_a_notebook", {"chunk_size": 128, "chunk_overlap": 0, "top_k": 2}, named)
    assert promotion_from(own, measured.settings).method == "json:in_a_notebook"


def test_a_service_of_ones_own_answers_already(measured):
    http_system("chatbot", endpoint="chatbot")
    with pytest.raises(ConfigurationError, match="chatbot is your own service, which already answers over HTTP"):
        promotion_from(of_method(measured, "chatbot", {}), measured.settings)
    del RAG_METHODS["chatbot"]  # as in another process than that of the experiment
    of_study = of_method(measured, "chatbot", {}, "systems: [bm25, {service: chatbot, endpoint: chatbot}]")
    with pytest.raises(ConfigurationError, match="chatbot is your own service, which already answers over HTTP"):
        promotion_from(of_study, measured.settings)
