"""Imports that version 0.1 documented go on working, with a warning that names the new home."""

import importlib
import subprocess
import sys
import warnings

import pytest

from dream.renamed import RENAMED

# What README, INSTALL and the notebooks of version 0.1 imported.
DOCUMENTED = [
    "dream.comparison.leaderboard_of",
    "dream.comparison.verdict_of",
    "dream.documents.load_documents",
    "dream.errors.DataError",
    "dream.evaluator.evaluator",
    "dream.experiment.experiment",
    "dream.golden_dataset.golden_table",
    "dream.indexes.build_index",
    "dream.losses.losses_of",
    "dream.noise.noise_of",
    "dream.plan.plan",
    "dream.planned_calls.plan_against_actual",
    "dream.plots.forest",
    "dream.plots.heat_map",
    "dream.plots.main_effects",
    "dream.plots.pareto",
    "dream.power.plan_power",
    "dream.query_engines.RAG_METHODS",
    "dream.report.report_html",
    "dream.results.latest_experiment",
    "dream.results.question_table",
    "dream.results.results_table",
    "dream.settings.safe_uri",
    "dream.storage.open_storage",
]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_imports_documented_in_version_0_1_go_on_working(name: str):
    module, _, attribute = name.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert getattr(importlib.import_module(module), attribute) is not None


def test_a_renamed_module_says_where_its_contents_are_now():
    program = "import warnings; warnings.simplefilter('error'); import dream.results"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "DeprecationWarning: dream.results is now dream.experiments and dream.tables" in done.stderr
    assert all(importlib.import_module(home) for homes in RENAMED.values() for home in homes)
