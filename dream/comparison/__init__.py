"""Statistics over the scores of an experiment: paired intervals, ranking, recommendation, effects, power, regression.

Pure computation: it needs neither Ray nor ragas nor LlamaIndex.
"""

from dream.comparison.calibration import calibrated as calibrated
from dream.comparison.comparison import (
    DEFAULT_METRIC as DEFAULT_METRIC,
    Comparison as Comparison,
    compare as compare,
    default_metric as default_metric,
    paired_difference as paired_difference,
)
from dream.comparison.fairness import check_fairness as check_fairness
from dream.comparison.human_agreement import (
    agreement as agreement,
    agreement_text as agreement_text,
    read_labels as read_labels,
)
from dream.comparison.judge_noise import noise_of as noise_of
from dream.comparison.leaderboard_table import (
    comparison_text as comparison_text,
    leaderboard as leaderboard,
    leaderboard_of as leaderboard_of,
    verdict as verdict,
    verdict_of as verdict_of,
)
from dream.comparison.loss_split import losses_of as losses_of
from dream.comparison.power import plan_power as plan_power
from dream.comparison.regression import against_baseline as against_baseline
