"""The number of requests at once that is learned from an endpoint."""

import math

import pytest
from simulated_endpoints import AtOnce, SimulatedEndpoint, ask

from dream.models.concurrency_limit import ConcurrencyLimit


@pytest.mark.whole
@pytest.mark.parametrize("clients", [64, 256])
@pytest.mark.parametrize("most", [4, 16, 40])
def test_a_number_of_requests_at_once_is_learned(most, clients):
    ran = ask(SimulatedEndpoint(AtOnce(most)), 150 * most, clients)
    assert ran.seconds <= 1.1 * 150 * 0.5
    assert ran.given_up == 0


def test_a_number_explains_refusals_that_all_come_above_it():
    limit = ConcurrencyLimit()
    for _ in range(10):
        limit.accepted(4, 0.0)
    assert [limit.refused(5, 0.0) for _ in range(5)] == [False] * 4 + [True]
    assert limit.most == 4


def test_no_number_explains_refusals_that_come_whatever_is_in_flight():
    limit = ConcurrencyLimit()
    for level in range(1, 11):
        limit.accepted(level, 0.0)
    assert not any(limit.refused(level, 0.0) for level in range(1, 11))
    assert limit.most == math.inf
