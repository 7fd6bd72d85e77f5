"""Study files for tests."""

WHOLE = """
documents: s3://documents/contracts
questions: golden
models:
  llms: [gpt-4o-mini, llama-3.1-8b@vllm]
  embed_models: [text-embedding-3-small]
  judge: {llm: gpt-4o, embed_model: text-embedding-3-large}
systems:
  - {method: chunks_with_overlap, chunk_size: [256, 512], top_k: {from: 2, to: 4}}
  - {method: hierarchical_automerging, chunk_sizes: [[1024, 256], [512, 128]], merge_ratio: {from: 0.2, to: 0.6, step: 0.2}, llms: [gpt-4o]}
  - sentence_window
rules:
  - exclude: {chunk_size: 512, top_k: 4}
  - require: {when: {llm: gpt-4o-mini}, then: {top_k: [2, 12]}}
metrics: [answer_correctness, faithfulness]
objective: {maximise: faithfulness, margin: 0.03}
judge_repeats: {times: 3, questions: 5}
baselines: true
sift: recall@5
search: {by: random, trials: 6, seed: 3}
budget: {usd: 20}
engine: in_process
"""  # noqa: E501
