"""Defaults that functions and the command line share. Imports nothing, so that `dream --help` stays quick."""

GOLDEN_DATASET = "golden"
GOLDEN_QUESTIONS = 30
SEED = 0
JUDGE_REPEATS = 1
JUDGE_REPEAT_QUESTIONS = 10
DEFAULT_METRIC = "answer_correctness"
FAILURE_SHARE = 0.1
# The part of a comparison's 5 % error that a race may spend.
RACE_ERROR = 0.025
MARGIN = 0.05
OFFLINE_PORT = 8899
GATEWAY_PORT = 8898
SERVE_PORT = 8897
WINNER_PATH = "k8s/serve/winner.yaml"  # in the Git repository of `dream promote`
# Limits of `dream serve`.
SERVE_QUESTION_CHARACTERS = 4000
SERVE_AT_ONCE = 16
SERVE_TIMEOUT_SECONDS = 120.0
CHECK_WAIT_SECONDS = 300.0
DEMO_FOLDER = "dream-demo"
DEMO_QUESTIONS = 20
# ragas asks the judge three times for the questions that answer_relevancy derives from an answer. At its temperature of
# 0.01 this is the same answer billed three times, so DREAM asks once by default.
STRICTNESS = 1
# The maximum number of concurrent questions of a trial.
MAX_CONCURRENT_QUESTIONS = 64
# The maximum of all trials in a process: as many as an endpoint takes requests, since each question waits for at least
# one.
QUESTIONS_AT_ONCE = 256
# The maximum tokens of an answer, including thinking: far above any sensible answer, to stop rambling models.
MAX_ANSWER_TOKENS = 4096
# Engines of trials and golden questions (`dream.engines`).
ENGINES = ("auto", "in_process", "ray")

# The factors that all retrieval methods share, with their defaults. `Trial.parameters`, and so a trial's id, do not
# include factors at their defaults.
FACTORS = {
    "chunker": "overlapping_chunks",
    "chunk_context": "none",
    "context_llm": "default",
    "query_transform": "none",
    "n_queries": 3,
    "reranker": "none",
    "rerank_from": 20,
    "prompt": "default",
    "system_prompt": "",
    "temperature": 0.0,
    "max_tokens": None,
}
