"""Engines run trials, tasks and services: in this process, or on a Ray cluster. Other packages do not depend on which.

`choose_engine` decides, `opened` starts the engine; each engine has its own module.
"""

from dream.engines.choice import (
    AUTO as AUTO,
    ENGINES as ENGINES,
    IN_PROCESS as IN_PROCESS,
    RAY as RAY,
    EngineChoice as EngineChoice,
    choose_engine as choose_engine,
)
from dream.engines.engine import Engine as Engine, TrialRuns as TrialRuns
from dream.engines.inbox import (
    BlockFinished as BlockFinished,
    Message as Message,
    TrialFinished as TrialFinished,
    TrialStarted as TrialStarted,
    TrialStopped as TrialStopped,
)
from dream.engines.opening import opened as opened
