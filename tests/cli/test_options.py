"""Options that several commands have, and the banner, which is shown where offline models are in use."""

import pytest

from dream.cli.options import OFFLINE_BANNER, show_banner
from dream.settings import Settings

ENDPOINT = {"DREAM_ENDPOINT_X_BASE_URL": "http://models.example/v1"}


@pytest.mark.parametrize(
    ("environment", "shown"),
    [({}, True), (ENDPOINT, False), ({"OPENAI_API_KEY": "a-key"}, False), ({**ENDPOINT, "DREAM_OFFLINE": "1"}, True)],
)
def test_the_banner_is_shown_where_offline_models_are_in_use(environment: dict[str, str], shown: bool, capsys):
    show_banner(Settings.from_environment(environment))
    assert capsys.readouterr().out.strip() == (OFFLINE_BANNER.strip() if shown else "")


def test_plan_and_run_have_the_same_options_for_what_is_run(dream):
    def options(command: str) -> set[str]:
        return {word for word in dream(command, "--help").out.replace(",", " ").split() if word.startswith("--")}

    shared = {"--golden", "--documents", "--query-engine", "--llm", "--embed-model", "--set", "--metric"}
    shared |= {"--strictness", "--judge-repeats", "--judge-repeat-questions", "--baselines"}
    assert shared <= options("plan") & options("run")
