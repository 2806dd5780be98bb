"""A short load test of a server, with malformed requests. `python -m benchmarks serve_load` runs it for minutes."""

import collections

import pytest

from tests.serving import malformed, nets
from tests.serving.load import Size, drive

SIZE = Size(clients=2, seconds=2, malformed=3 * len(malformed.REQUESTS), swaps=2)


@pytest.mark.slow
@pytest.mark.serving
@pytest.mark.processes
def test_all_is_answered_or_refused_while_versions_are_swapped():
    outcome = drive(SIZE, nets.small())
    assert collections.Counter(outcome.faults) == {}
    assert len(outcome.refused) == SIZE.malformed
    assert outcome.swapped == [2, 3]
    assert len(outcome.milliseconds) > 50
