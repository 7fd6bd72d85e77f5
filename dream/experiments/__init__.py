"""Experiments: the spec, its plan, all trials on Ray, and the results in storage.

`run_experiment` runs all trials of a search space, `experiment` a single one.
"""

from dream.experiments.pilot import planned_power as planned_power
from dream.experiments.planning import Plan as Plan, plan as plan
from dream.experiments.run import run_experiment as run_experiment
from dream.experiments.spec import ExperimentSpec as ExperimentSpec
from dream.experiments.stopping import stop_trial as stop_trial
from dream.experiments.store import latest_experiment as latest_experiment, load_experiment as load_experiment
from dream.experiments.study import Study as Study
from dream.experiments.study_reader import read_study as read_study
from dream.experiments.trial import TrialContext as TrialContext, experiment as experiment
