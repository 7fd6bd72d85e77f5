"""Every call to an LLM or an embedding model: pickers that make clients, and the gateway that sends their requests.

The gateway caches, deduplicates, limits, budgets and counts; `endpoint_client` is the only module that sends HTTP to a
model server.
"""

from dream.models.model_check import check_models as check_models
from dream.models.pickers import (
    EMBED_BATCH_SIZE as EMBED_BATCH_SIZE,
    check_identifiers as check_identifiers,
    embed_model_picker as embed_model_picker,
    endpoint_urls as endpoint_urls,
    judge_embed_model_picker as judge_embed_model_picker,
    judge_llm_picker as judge_llm_picker,
    llm_picker as llm_picker,
    split_identifier as split_identifier,
)
