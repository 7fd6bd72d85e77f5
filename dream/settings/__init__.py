"""Settings from environment variables and a `.env` file: storage, MLflow, Ray, models and their endpoints.

Each field below names its variable. All are optional; with none set, DREAM keeps its data in `.dream/` and uses offline
models. INSTALL.md explains them.

Besides, `DREAM_ENDPOINT_<NAME>_<FIELD>` describes a model endpoint by the fields of `Endpoint`, such as
DREAM_ENDPOINT_VLLM_BASE_URL. The name of the default endpoint, which OPENAI_API_KEY and OPENAI_BASE_URL describe, is
OPENAI: DREAM_ENDPOINT_OPENAI_REQUESTS_PER_MINUTE.

A `.env` file in the working folder or above it is read too; the environment takes precedence.
"""

from dream.settings.endpoints import OFFLINE as OFFLINE, OPENAI as OPENAI, Endpoint as Endpoint
from dream.settings.readers import log_place as log_place
from dream.settings.settings import (
    KNOWN_VARIABLES as KNOWN_VARIABLES,
    Budget as Budget,
    Settings as Settings,
    offline_models as offline_models,
    project_home as project_home,
    safe_uri as safe_uri,
)
