"""The search models_first: every pair of LLM and embedding model runs with one system, and so does the incumbent; then
all systems run with the pairs that may be the best.

It assumes that about the same models are best for all systems. For 4 LLMs, 3 embedding models and 20 systems it runs at
most 12 + 3 x 20 trials, where the grid has 240.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from dream.rag.combinations import EMBED_MODEL, LLM, Block, Combinations
from dream.rag.products import LISTED, digits_of, size_of
from dream.rag.registry import find_rag_method
from dream.rag.told import Told, unseen
from dream.records import INCUMBENT, Search, Trial

# The maximum number of pairs of models for the second round.
MOST_PAIRS = 3


def models_first_round(space: Combinations, search: Search, told: Sequence[Told]) -> tuple[Trial, ...]:
    """The trials of the first round, then those of the second, then none.

    The first round uses the first system of the space that accepts a pair, each factor at its default, or at its first
    value if the default is not in the space. If the second round has more combinations than the search may try, they
    are sampled with its seed.
    """
    if not search.rounds:
        incumbents = space.incumbents
        return (*incumbents, *unseen(_with_models(space), [Told(trial) for trial in incumbents]))
    pairs = _best_pairs(told)
    if len(search.rounds) > 1 or not pairs:
        return ()
    second = with_pairs(space, pairs)
    if search.trials is None:
        return tuple(unseen(second.listed(), told))
    return tuple(islice(unseen(second.drawn(search.seed), told), search.trials))


def pair_of(trial: Trial) -> tuple[str, str]:
    """The LLM and the embedding model of a trial, each empty if it has none."""
    return trial.llm_identifier, trial.embed_model_identifier


def with_pairs(space: Combinations, pairs: Sequence[tuple[str, str]]) -> Combinations:
    """The combinations of a space with only these models."""
    return replace(space, blocks=tuple(block for pair in pairs for block in _blocks_of(space, pair)))


def _best_pairs(told: Sequence[Told]) -> list[tuple[str, str]]:
    """The pairs that may be the best, the best first, at most `MOST_PAIRS`. If an incumbent is better than all of them,
    only the best pair."""
    ranked = [each for each in told if each.values and not each.trial.parameters.get(INCUMBENT)]
    ranked.sort(key=lambda each: -(each.values or (0,))[0])
    best = [each for each in ranked if each.may_be_best]
    if not best and any(each.may_be_best for each in told):
        best = ranked[:1]
    return list(dict.fromkeys(pair_of(each.trial) for each in best))[:MOST_PAIRS]


def _with_models(space: Combinations) -> list[Trial]:
    """A trial for each pair of models; pairs without an LLM or an embedding model only if there are no others."""
    trials_by_pair: dict[tuple[str, str], Trial] = {}
    for block in space.blocks:
        for llm in block.factors[LLM]:
            for embed_model in block.factors[EMBED_MODEL]:
                if (llm, embed_model) not in trials_by_pair and (
                    trial := _default_trial(space, block, llm, embed_model)
                ):
                    trials_by_pair[llm, embed_model] = trial
    whole = [trial for pair, trial in trials_by_pair.items() if all(pair)]
    return whole or list(trials_by_pair.values())


def _default_trial(space: Combinations, block: Block, llm: str, embed_model: str) -> Trial | None:
    """The trial nearest to the defaults that the rules allow."""
    defaults = find_rag_method(block.method).all_defaults
    ordered = {
        name: tuple(sorted(choices, key=lambda value, name=name: value != defaults.get(name)))
        for name, choices in block.factors.items()
    }
    nearest = replace(block, factors={**ordered, LLM: (llm,), EMBED_MODEL: (embed_model,)})
    for number in range(min(size_of(nearest.choices), LISTED)):
        trial = nearest.trial(digits_of(number, nearest.choices))
        if space.is_allowed(trial, block):
            return trial
    return None


def _blocks_of(space: Combinations, pair: tuple[str, str]) -> list[Block]:
    """The blocks of a space with only these models; methods without an LLM or an embedding model keep none."""
    blocks = []
    for block in space.blocks:
        models = {
            name: value if block.factors[name] != ("",) else ""
            for name, value in zip((LLM, EMBED_MODEL), pair, strict=True)
        }
        if all(value in block.factors[name] for name, value in models.items()):
            blocks.append(
                replace(block, factors={**block.factors, **{name: (value,) for name, value in models.items()}})
            )
    return blocks
