"""Questions become answers, and answers become scores.

`evaluator` runs both for one trial; only `ragas_metrics` and `further_ragas_metrics` depend on ragas' metrics.
"""

from dream.evaluation.applicability import applicability_notes as applicability_notes
from dream.evaluation.evaluate import (
    JUDGED_ONCE as JUDGED_ONCE,
    STRICTNESS as STRICTNESS,
    EvaluationOptions as EvaluationOptions,
    Repeats as Repeats,
    by_question as by_question,
    evaluator as evaluator,
    joined as joined,
)
from dream.evaluation.evidence import Evidence as Evidence, Place as Place
from dream.evaluation.locating import locate as locate
