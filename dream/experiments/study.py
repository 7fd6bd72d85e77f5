"""`Study`: an experiment as a file describes it, `dream run study.yaml`.

    documents: s3://documents/contracts
    questions: golden                        # a dataset's name, or a file of questions
    models:
      llms: [gpt-4o-mini, llama-3.1-8b@vllm]
      embed_models: [text-embedding-3-small]
      judge: {llm: gpt-4o, embed_model: text-embedding-3-small}
    systems:                                 # a list is a factor: each system is the product of its lists
      - {method: chunks_with_overlap, chunk_size: [256, 512], top_k: {from: 2, to: 4}}
      - {method: sentence_window}
    rules:
      - exclude: {chunk_size: 512, top_k: 4}
      - require: {when: {llm: gpt-4o-mini}, then: {top_k: [2, 3]}}
    metrics: [answer_correctness, faithfulness]
    objective: {maximise: answer_correctness, margin: 0.03}
    budget: {usd: 20}
    engine: auto

All keys except `systems` have defaults, from the settings or from `run_experiment`. API keys stay in the environment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dream.errors import ConfigurationError
from dream.experiments.spec import ExperimentSpec, SpecOptions, as_spec
from dream.rag.search_space import SearchSpace
from dream.rag.search_spaces import Condition, JoinedSpace, Requirement
from dream.records import Objective
from dream.settings import Settings

# Shorter API keys, such as dummies for servers without authentication, may occur as words in a file.
SECRET_CHARACTERS = 16


@dataclass(frozen=True)
class Study:
    """An experiment as a file describes it (`dream.experiments.read_study`).

    Attributes:
        name: the file's name, for messages.
        text: the file's content, which the manifest contains.
        systems: the search spaces; LLMs or embedding models are empty for systems that name none.
        lines: the line number of each system.
        exclude, require: see `JoinedSpace`.
        settings: the fields of `Settings` that the file sets, and `budget` those of `Budget`.
        options: the fields of `ExperimentSpec` that the file sets.
    """

    name: str
    text: str
    systems: Sequence[SearchSpace]
    lines: Sequence[int]
    exclude: Sequence[Condition] = ()
    require: Sequence[Requirement] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    objective: Objective = field(default_factory=Objective)

    def applied_to(self, settings: Settings) -> Settings:
        """The settings with the study's models, documents, engine and budget."""
        return replace(settings, **self.settings, budget=replace(settings.budget, **self.budget))

    def spec(self, settings: Settings) -> ExperimentSpec:
        """The experiment, with the models of the settings if the study names none.

        Raises:
            ConfigurationError: if the file contains an API key of the settings, because the experiment stores the file.
        """
        if any(secret in self.text for secret in settings.secrets() if len(secret) >= SECRET_CHARACTERS):
            raise ConfigurationError(
                f"{self.name} contains an API key of the settings, and the experiment would store it: remove it; keys "
                f"stay in the environment"
            )
        settings = self.applied_to(settings)
        spaces = [
            replace(space, llms=space.llms or settings.llms, embed_models=space.embed_models or settings.embed_models)
            for space in self.systems
        ]
        places = [f"line {line}" for line in self.lines]
        space = JoinedSpace(spaces, self.exclude, self.require, places, self.name)
        return ExperimentSpec(space, study=self.text, objective=self.objective, **self.options)


def asked(
    spec: ExperimentSpec | SearchSpace | JoinedSpace | Study | None, options: SpecOptions, settings: Settings
) -> tuple[ExperimentSpec, Settings]:
    """The spec from the arguments of `run_experiment` or `plan`, and the settings to use with it.

    Raises:
        TypeError: for options given together with a study or a spec.
    """
    if isinstance(spec, Study):
        return as_spec(spec.spec(settings), options), spec.applied_to(settings)
    return as_spec(spec, options), settings
