"""Where the loss is: how much of what is missing to a perfect score retrieval lost, and how much generation.

The same questions are answered three times: from no context (closed-book), from the reference contexts (oracle), and
from what was retrieved. What even the oracle's answer lacks is generation's loss; what the retrieved one lacks beyond
that is retrieval's. Both add up to the whole loss, 1 - score.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy

from dream.errors import DataError
from dream.paired import Interval, interval


@dataclass(frozen=True)
class QuestionLoss:
    """One question: the three scores (0 to 1), and the loss split in two.

    `retrieval` is below 0 where what was retrieved served better than the reference contexts.
    """

    question_id: str
    closed_book: float
    oracle: float
    retrieved: float

    @property
    def generation(self) -> float:
        """What the LLM lost although it had the right contexts."""
        return 1 - self.oracle

    @property
    def retrieval(self) -> float:
        """What was lost because other contexts were retrieved."""
        return self.oracle - self.retrieved


@dataclass(frozen=True)
class LossSplit:
    """The split over all questions with three scores: means with 95 % intervals; `left_out` questions had fewer.

    `gain` is what the retrieved contexts added to what the LLM knows without any. `questions` starts with those that
    lost most.
    """

    generation: Interval
    retrieval: Interval
    gain: Interval
    questions: tuple[QuestionLoss, ...]
    left_out: int

    @property
    def retrieval_share(self) -> float | None:
        """Retrieval's share of the whole loss, 0 to 1; None where nothing was lost."""
        whole = self.generation.mean + self.retrieval.mean
        return min(max(self.retrieval.mean / whole, 0.0), 1.0) if whole > 1e-12 else None

    @property
    def text(self) -> str:
        """The split in one or two sentences."""
        parts = (
            f"lost to retrieval {_shown(self.retrieval)}, to generation {_shown(self.generation)}; the retrieved "
            f"contexts added {_shown(self.gain)} to what the LLM knows without them."
        )
        share = "" if self.retrieval_share is None else f" Retrieval makes {self.retrieval_share:.0%} of the loss."
        return f"On {len(self.questions)} questions: {parts}{share}"


def split_loss(
    closed_book: Mapping[str, float], oracle: Mapping[str, float], retrieved: Mapping[str, float]
) -> LossSplit:
    """Split the loss of one trial on one metric, given the scores by question id of its three ways of answering.

    Raises:
        DataError: if no question has all three scores.

    Example:
        >>> split = split_loss({"a": 0.1, "b": 0.5}, {"a": 0.9, "b": 0.9}, {"a": 0.3, "b": 0.9})
        >>> round(split.generation.mean, 3), round(split.retrieval.mean, 3), split.questions[0].question_id
        (0.1, 0.3, 'a')
    """
    everything = dict.fromkeys([*retrieved, *oracle, *closed_book])
    common = [one for one in everything if one in closed_book and one in oracle and one in retrieved]
    if not common:
        raise DataError(
            f"no question has all three scores (closed-book {len(closed_book)}, oracle {len(oracle)}, "
            f"retrieved {len(retrieved)}): run the baselines on the same golden dataset"
        )
    questions = [QuestionLoss(one, closed_book[one], oracle[one], retrieved[one]) for one in common]
    return LossSplit(
        generation=interval(numpy.array([one.generation for one in questions])),
        retrieval=interval(numpy.array([one.retrieval for one in questions])),
        gain=interval(numpy.array([one.retrieved - one.closed_book for one in questions])),
        questions=tuple(sorted(questions, key=lambda one: one.retrieved)),
        left_out=len(everything) - len(common),
    )


def _shown(one: Interval) -> str:
    return f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]"
