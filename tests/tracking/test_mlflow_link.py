"""The page of an experiment in MLflow."""

from lab import Lab, Ran

from dream.settings import Settings
from dream.tracking.mlflow_link import experiment_page


def test_the_page_is_that_of_the_run_of_the_experiment(lab: Lab, small_experiment: Ran):
    page = experiment_page(lab.settings, small_experiment.outcome.name)
    server, _, run = page.partition("/#/experiments/")
    assert (server, run.count("/runs/")) == (lab.mlflow.url, 1)
    assert experiment_page(lab.settings, "nobody") == lab.mlflow.url


def test_no_credentials_are_in_it_and_a_file_has_no_page():
    named = {"MLFLOW_TRACKING_URI": "http://me:secret@127.0.0.1:9/", "MLFLOW_EXPERIMENT_NAME": "x"}
    assert experiment_page(Settings.from_environment(named), "x") == "http://127.0.0.1:9"
    assert experiment_page(Settings.from_environment({}), "x") == ""
