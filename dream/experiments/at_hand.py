"""`check_at_hand`: before an experiment is resumed, the user's own metrics and methods must be registered in this
process."""

from dream.errors import ConfigurationError, DreamError, bullets
from dream.metrics import known_again
from dream.rag.registry import RAG_METHODS
from dream.records import Manifest


def check_at_hand(before: Manifest) -> None:
    """Register again the methods, services and rubrics of the experiment's study file.

    Raises:
        ConfigurationError: naming its user-defined metrics and RAG methods that are not registered.
    """
    if before.study and _unknown_methods(before):
        from dream.experiments.study_reader import study_of  # which imports this package's specs

        try:
            study_of(before.study)
        except DreamError as error:
            raise ConfigurationError(f"the study file of experiment {before.name!r} cannot be used: {error}") from error
    problems = []
    there = {metric.name for metric in known_again(before.own_metrics)}
    if metrics := [metric.name for metric in before.own_metrics if metric.name not in there]:
        problems.append(
            f"experiment {before.name!r} uses metrics that are not registered here: {', '.join(metrics)}. Register "
            f"them first: run the cell, or import the module, with @metric (on the command line: give all metrics "
            f"again, these as --metric module:name)"
        )
    if methods := _unknown_methods(before):
        problems.append(
            f"experiment {before.name!r} uses RAG methods that are not registered here: {', '.join(methods)}. "
            "Register them first: run the cell, or import the module, with @rag_method or @own_system, and resume from "
            f"there (run_experiment(resume={before.name!r})); the command line can resume them only if the experiment "
            f"has a study file, which names modules and services"
        )
    if problems:
        raise ConfigurationError(problems[0] if len(problems) == 1 else bullets("missing in this process:", problems))


def _unknown_methods(before: Manifest) -> list[str]:
    """The unregistered methods of trials, including those that a search may still choose."""
    blocks = (before.search.space or {}).get("blocks", ())
    names = [*(trial.query_engine_identifier for trial in before.trials), *(block["method"] for block in blocks)]
    return [name for name in dict.fromkeys(names) if name not in RAG_METHODS]
