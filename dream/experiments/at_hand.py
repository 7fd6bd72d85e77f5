"""`check_at_hand`: what an experiment has of the user's own is known in this process before it is resumed."""

from dream.errors import ConfigurationError, DreamError, bullets
from dream.metrics import known_again
from dream.rag.registry import RAG_METHODS
from dream.records import Manifest


def check_at_hand(before: Manifest) -> None:
    """Register again what the experiment's study file names: modules of methods, services, rubrics.

    Raises:
        ConfigurationError: naming its own metrics and RAG methods that are not known here.
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
            f"experiment {before.name!r} has metrics of its own that are not known here: {', '.join(metrics)}. "
            "Register them first: run the cell, or import the module, with @metric (on the command line: all metrics "
            "again, these as --metric module:name)"
        )
    if methods := _unknown_methods(before):
        problems.append(
            f"experiment {before.name!r} has RAG methods of its own that are not known here: {', '.join(methods)}. "
            "Register them first: run the cell, or import the module, with @rag_method or @own_system, and resume from "
            f"there (run_experiment(resume={before.name!r})); on the command line only an experiment of a study file, "
            "which names modules and services, can be resumed with them"
        )
    if problems:
        raise ConfigurationError(problems[0] if len(problems) == 1 else bullets("what is missing here:", problems))


def _unknown_methods(before: Manifest) -> list[str]:
    """The methods of trials, also of those that a search may still choose, that are not registered."""
    blocks = (before.search.space or {}).get("blocks", ())
    names = [*(trial.query_engine_identifier for trial in before.trials), *(block["method"] for block in blocks)]
    return [name for name in dict.fromkeys(names) if name not in RAG_METHODS]
