"""RAG methods, baselines, and the search space (the grid of methods, models and parameters).

A method is a function with the decorator `@rag_method`; `query_engine_picker` creates its query engine.
"""

from dream.rag.baselines import (
    baseline_engine as baseline_engine,
    baseline_trials as baseline_trials,
    check_baseline_metrics as check_baseline_metrics,
    metrics_of as metrics_of,
    questions_of as questions_of,
)
from dream.rag.methods import (
    RAG_METHODS as RAG_METHODS,
    answer_from as answer_from,
    find_rag_method as find_rag_method,
    http_system as http_system,
    index_request as index_request,
    own_system as own_system,
    query_engine_picker as query_engine_picker,
    rag_method as rag_method,
)
from dream.rag.parameters import (
    AnsweringParameters as AnsweringParameters,
    RetrievalParameters as RetrievalParameters,
)
from dream.rag.search_space import SearchSpace as SearchSpace, default_search_space as default_search_space
