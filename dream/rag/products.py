"""Products of choices that may be too large to list: size, combinations by number, random order, a sample with each
choice."""

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

# Larger products are not listed if a part of them suffices.
LISTED = 5_000
_SHOWN = 1_000


def size_of(choices: Sequence[Sequence[Any]]) -> int:
    """The number of combinations.

    Example:
        >>> size_of([[1, 2], ["a", "b", "c"]])
        6
    """
    return math.prod(map(len, choices))


def digits_of(number: int, choices: Sequence[Sequence[Any]]) -> tuple[int, ...]:
    """The index into each of `choices` for a combination, in the order of `itertools.product`.

    Example:
        >>> digits_of(4, [[1, 2], ["a", "b", "c"]])
        (1, 1)
    """
    digits = []
    for each in reversed(choices):
        number, digit = divmod(number, len(each))
        digits.append(digit)
    return tuple(reversed(digits))


def number_of(digits: Sequence[int], choices: Sequence[Sequence[Any]]) -> int:
    """The inverse of `digits_of`."""
    number = 0
    for digit, each in zip(digits, choices, strict=True):
        number = number * len(each) + digit
    return number


def shuffled(n: int, seed: int) -> Iterator[int]:
    """The numbers below `n` in a uniformly random order that depends on the seed. Memory grows with the numbers that
    are consumed, not with `n`."""
    draw, moved = random.Random(seed), dict[int, int]()
    for last in range(n - 1, -1, -1):
        number = draw.randint(0, last)
        yield moved.get(number, number)
        moved[number] = moved.pop(last, last)


def shown(choices: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """All combinations of a small product. Of a large one, each choice combined with the first and with the last
    choices of the other factors, and a thousand random combinations."""
    n = size_of(choices)
    if n <= LISTED:
        numbers = set(range(n))
    else:
        numbers = {number for _, number in zip(range(_SHOWN), shuffled(n, 0), strict=False)}
        for ends in ([0] * len(choices), [len(each) - 1 for each in choices]):
            for factor, each in enumerate(choices):
                digits = [[*ends[:factor], digit, *ends[factor + 1 :]] for digit in range(len(each))]
                numbers |= {number_of(combination, choices) for combination in digits}
    for number in sorted(numbers):
        yield tuple(each[digit] for each, digit in zip(choices, digits_of(number, choices), strict=True))
