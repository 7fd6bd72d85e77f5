"""`judge_forms`: one request for each answer form that a judge must fill, for the check before an experiment."""

from collections.abc import Sequence
from typing import Any, get_origin

from pydantic import BaseModel

from dream.metrics import is_judged
from dream.settings import offline_models

EXAMPLE = "The mill was built in 1931."


def judge_forms(metrics: Sequence[str]) -> list[tuple[str, type[BaseModel]]]:
    """Prompts with ragas' own examples, and the response model of each; a form that several metrics share occurs
    once."""
    forms: dict[str, tuple[str, type[BaseModel]]] = {}
    for prompt in _prompts([name for name in metrics if is_judged(name)]):
        forms.setdefault(prompt.output_model.__name__, (prompt.to_string(_example(prompt)), prompt.output_model))
    return list(forms.values())


def _example(prompt: Any) -> BaseModel:
    """An input of a prompt: ragas' own example, or a made-up one."""
    if examples := getattr(prompt, "examples", None):
        return examples[0][0]
    fields = prompt.input_model.model_fields
    are_lists = {name: get_origin(field.annotation) is list for name, field in fields.items()}
    return prompt.input_model(**{name: [EXAMPLE] if is_list else EXAMPLE for name, is_list in are_lists.items()})


def _prompts(metrics: Sequence[str]) -> list[Any]:
    """The prompts of metrics; no model is called."""
    from ragas.prompt.metrics.base_prompt import BasePrompt

    from dream.evaluation.judge_models import EmbeddedOnce
    from dream.evaluation.ragas_metrics import ragas_metrics
    from dream.models.pickers import judge_embed_model_picker, judge_llm_picker, model_calls

    names = offline_models()
    llm, embed_model = judge_llm_picker(names["judge_llm"]), names["judge_embed_model"]
    embeddings = EmbeddedOnce(judge_embed_model_picker(embed_model), model_calls(embed_model))
    made = ragas_metrics(metrics, llm, [llm], embeddings)
    return [prompt for metric in made.values() for prompt in vars(metric).values() if isinstance(prompt, BasePrompt)]
