"""Defaults: functions and the command line have the same, and they import nothing."""

import inspect
import subprocess
import sys

import pytest

from dream import compare, defaults, generate_golden_dataset
from dream.evaluation import EvaluationOptions
from dream.experiments import ExperimentSpec


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (compare, {"failure_share": defaults.FAILURE_SHARE}),
        (generate_golden_dataset, {"n_questions": defaults.GOLDEN_QUESTIONS, "name": defaults.GOLDEN_DATASET}),
        (EvaluationOptions, {"strictness": defaults.STRICTNESS}),
        (
            ExperimentSpec,
            {
                "judge_repeats": defaults.JUDGE_REPEATS,
                "judge_repeat_questions": defaults.JUDGE_REPEAT_QUESTIONS,
            },
        ),
    ],
)
def test_functions_have_them(function, expected: dict[str, object]):
    parameters = inspect.signature(function).parameters
    assert {name: parameters[name].default for name in expected} == expected


def test_reading_them_imports_no_other_module_of_dream_and_nothing_heavy():
    program = "import sys, dream.defaults; print(*sorted(m for m in sys.modules if m.startswith('dream')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"dream", "dream.defaults", "dream.renamed"}
