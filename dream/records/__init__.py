"""The records of DREAM as frozen dataclasses: questions, trials, answers, scores, failures, usage, manifests.

`to_json` and `from_json` convert them to and from JSON, for storage and MLflow.
"""

from dream.records.answers import (
    JUDGED_ONCE as JUDGED_ONCE,
    Answer as Answer,
    Evaluation as Evaluation,
    MetricSummary as MetricSummary,
    Passage as Passage,
    Repeats as Repeats,
    Score as Score,
)
from dream.records.confirmation import (
    Confirmation as Confirmation,
    ConfirmedTrial as ConfirmedTrial,
    HoldOut as HoldOut,
    Role as Role,
    Verdict as Verdict,
    most_confirmed as most_confirmed,
)
from dream.records.failures import (
    Failure as Failure,
    FailureKind as FailureKind,
    failure_from_json as failure_from_json,
)
from dream.records.manifest import (
    Cluster as Cluster,
    DocumentSet as DocumentSet,
    Manifest as Manifest,
    Objective as Objective,
)
from dream.records.questions import (
    EvidenceSpan as EvidenceSpan,
    GoldenDataset as GoldenDataset,
    GoldenQuestion as GoldenQuestion,
    Source as Source,
    digest as digest,
    digest_of_list as digest_of_list,
    page_label as page_label,
    pages_of as pages_of,
    source_columns as source_columns,
    sources_of as sources_of,
)
from dream.records.race import LeftRace as LeftRace, Look as Look, Race as Race
from dream.records.results import (
    ExperimentResult as ExperimentResult,
    TrialResult as TrialResult,
)
from dream.records.search import (
    GRID as GRID,
    IN_ROUNDS as IN_ROUNDS,
    MODELS_FIRST as MODELS_FIRST,
    NSGA2 as NSGA2,
    OPTUNA as OPTUNA,
    RANDOM as RANDOM,
    Search as Search,
)
from dream.records.sift import Sift as Sift, SiftedRetrieval as SiftedRetrieval
from dream.records.trials import (
    CLOSED_BOOK as CLOSED_BOOK,
    INCUMBENT as INCUMBENT,
    ORACLE as ORACLE,
    Trial as Trial,
    full_name as full_name,
    shortened as shortened,
    telling_parameters as telling_parameters,
)
from dream.records.usage import (
    HELD_OUT_STAGE as HELD_OUT_STAGE,
    INDEX_STAGES as INDEX_STAGES,
    SIFT_STAGE as SIFT_STAGE,
    Plan as Plan,
    PlannedCalls as PlannedCalls,
    UsageRow as UsageRow,
    add_usage as add_usage,
    known_sum as known_sum,
)
