"""The built-in metrics: definition, interpretation, inputs and number of judge calls.

`dream.evaluation` computes them: those of ragas 0.4.3 in `ragas_metrics`, the others in `retrieval_metrics` and
`answer_metrics`.
"""

from dream.metrics.definition import Metric

_RAGAS = (
    Metric(
        "faithfulness",
        question="Is the answer supported by the retrieved passages?",
        meaning="supported statements of the answer / all its statements",
        low_value="The LLM adds what the passages do not say. A faithful answer can still be wrong.",
        arguments=("user_input", "response", "retrieved_contexts"),
        judge_calls=2,
    ),
    Metric(
        "answer_relevancy",
        question="Does the answer address the question?",
        meaning="mean cosine similarity of the question and the questions that the judge derives from the answer "
        "(`strictness`, 1 by default); 0 if the judge finds the answer noncommittal each time",
        low_value="The answer evades the question, or is about something else. Correctness is not checked.",
        arguments=("user_input", "response"),
        embedded=("user_input",),
        calls_a_derived_question=1,
        range="-1 to 1, in practice 0 to 1",
        bounds=(-1.0, 1.0),
    ),
    Metric(
        "context_precision",
        question="Are the useful passages ranked first?",
        meaning="average precision: the mean, over the useful passages, of the share of useful passages down to their "
        "rank; 0 if none is useful",
        low_value="Useful passages rank below useless ones, or none was retrieved: embedding model, chunk size.",
        arguments=("user_input", "reference", "retrieved_contexts"),
        calls_a_passage=1,
    ),
    Metric(
        "context_recall",
        question="Do the retrieved passages contain the whole ground truth?",
        meaning="statements of the ground truth that the passages support / all its statements",
        low_value="Retrieval missed information that the answer needs: chunking, embedding model, `top_k`.",
        arguments=("user_input", "retrieved_contexts", "reference"),
        judge_calls=1,
    ),
    Metric(
        "answer_correctness",
        question="Does the answer say what the ground truth says?",
        meaning="0.75 x F1 of their statements + 0.25 x `answer_similarity`; F1 = TP / (TP + (FP + FN) / 2) with "
        "TP in both, FP only in the answer, FN only in the ground truth",
        low_value="The answer is wrong, incomplete or says more than was asked. If `context_recall` is low, the cause "
        "is retrieval, else the LLM.",
        arguments=("user_input", "response", "reference"),
        embedded=("response", "reference"),
        judge_calls=3,
        range="-0.25 to 1, in practice 0 to 1",
        bounds=(-0.25, 1.0),
    ),
    Metric(
        "answer_similarity",
        question="Is the answer close to the ground truth in meaning?",
        meaning="cosine similarity of their embeddings; no LLM judges it",
        low_value="The answer is about something else. A high value does not show that it is right: a wrong number "
        "changes it little.",
        arguments=("reference", "response"),
        embedded=("response", "reference"),
        range="-1 to 1, in practice 0 to 1",
        bounds=(-1.0, 1.0),
    ),
)
_MORE_OF_RAGAS = (
    Metric(
        "factual_correctness",
        question="Does the answer make the same claims as the ground truth?",
        meaning="F1 of claims, each checked against the other text as a whole: TP and FP are claims of the answer that "
        "the ground truth supports or not, FN claims of the ground truth that the answer does not support; rounded to "
        "two decimals",
        low_value="The answer is wrong, incomplete or says more than was asked. Wording does not matter, because no "
        "embeddings are compared.",
        arguments=("response", "reference"),
        judge_calls=4,
    ),
    Metric(
        "noise_sensitivity",
        question="How much of the answer is wrong although a relevant passage supports it?",
        meaning="statements of the answer that the ground truth does not support, and that a passage with a statement "
        "of the ground truth does / all statements of the answer; trials are compared by 1 - its value",
        low_value="Low is good. A high value: passages contain statements that are close to the question but not the "
        "answer, and the LLM uses them.",
        arguments=("user_input", "response", "reference", "retrieved_contexts"),
        judge_calls=3,
        calls_a_passage=2,
        range="0 to 1, lower is better",
        lower_is_better=True,
    ),
    Metric(
        "rubrics",
        question="How good is the answer overall, compared with the ground truth?",
        meaning="the level from 1 to 5 of ragas' rubric that the judge chooses, scaled to 0 to 1 (levels of your own: "
        "`dream.metrics.rubric`)",
        low_value="The judge gives its reason with each score.",
        arguments=("user_input", "response", "reference"),
        judge_calls=1,
        range="0, 0.25, 0.5, 0.75 or 1",
    ),
)
_EVIDENCE = ("retrieved_contexts", "evidence")
_RETRIEVAL = (
    Metric(
        "hit",
        question="Was any evidence retrieved?",
        meaning="1 if any of the retrieved passages covers some evidence, else 0",
        low_value="Retrieval found none of the evidence for the ground truth: embedding model, chunking, `top_k`.",
        arguments=_EVIDENCE,
        range="0 or 1",
    ),
    Metric(
        "recall",
        question="How much of the evidence was retrieved?",
        meaning="evidences that the retrieved passages cover / all evidences of the question",
        low_value="Some evidence was not retrieved: `top_k`, chunking, embedding model. Questions with evidence in "
        "several places need several passages.",
        arguments=_EVIDENCE,
    ),
    Metric(
        "precision",
        question="How many of the passages contain evidence?",
        meaning="the share of the retrieved passages that cover some evidence; 0 if nothing was retrieved",
        low_value="The LLM reads much irrelevant text: `top_k`, chunk size. With little evidence and a high `top_k`, "
        "it is necessarily low.",
        arguments=_EVIDENCE,
    ),
    Metric(
        "mrr",
        question="How high is the first evidence ranked?",
        meaning="1 / the rank of the first of the retrieved passages that covers some evidence; 0 if none does",
        low_value="Other passages rank above the evidence: embedding model, reranking.",
        arguments=_EVIDENCE,
    ),
    Metric(
        "ndcg",
        question="Is the evidence ranked first?",
        meaning="the sum over the retrieved passages of newly covered evidences / log2(rank + 1), divided by the same "
        "sum for the best order, in which each evidence that was not retrieved is a passage of its own",
        low_value="Evidence is missing, ranks low, or is repeated by passages above it.",
        arguments=_EVIDENCE,
    ),
)
_ANSWER_AND_TRUTH = ("user_input", "response", "reference")
_ANSWER = (
    Metric(
        "exact_match",
        question="Is the answer the ground truth, word for word?",
        meaning="1 if both have the same words, without case, punctuation and English articles, else 0",
        low_value="The answer is worded differently, as most right answers of LLMs are; meant for short ground truths.",
        arguments=_ANSWER_AND_TRUTH,
        range="0 or 1",
    ),
    Metric(
        "token_f1",
        question="Does the answer have the words of the ground truth, and no others?",
        meaning="F1 of the words in common, as in SQuAD, without case, punctuation and English articles; of "
        "scripts without spaces (Chinese, Japanese, Thai) characters are the words",
        low_value="The answer is wrong, worded differently, or longer than the ground truth.",
        arguments=_ANSWER_AND_TRUTH,
    ),
    Metric(
        "numbers_agree",
        question="Does the answer have the numbers of the ground truth?",
        meaning="numbers of the ground truth that are in the answer / its numbers, without those that the question "
        "names already; separators, scale words and percent are understood. Questions whose ground truth has no number "
        "are left out",
        low_value="A number is wrong, missing or written in words. Additional numbers in the answer do not count.",
        arguments=_ANSWER_AND_TRUTH,
    ),
)
DEFINITIONS = {metric.name: metric for metric in (*_RAGAS, *_MORE_OF_RAGAS, *_RETRIEVAL, *_ANSWER)}
METRICS = tuple(metric.name for metric in _RAGAS)
