"""Requests stay below gRPC's limit, however many and however large the calls of one turn are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from delegator.workflow.chunks import _BYTES_PER_REQUEST, _JOBS_PER_REQUEST, chunks_of

SIZES = st.sampled_from([0, 10, 100_000, 1_500_000, 2_000_000])
ARGUMENTS = {size: bytes(size) for size in (0, 10, 100_000, 1_500_000, 2_000_000)}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(SIZES, SIZES), max_size=40), st.sampled_from([1, 0, _JOBS_PER_REQUEST + 3]))
def test_chunks(sizes: list[tuple[int, int]], small: int):
    """Calls are split into requests by their size and their number, as few as possible, in order."""
    sizes = [*sizes, *[(10, 0)] * small]
    calls: list[Any] = [
        SimpleNamespace(request=SimpleNamespace(input=ARGUMENTS[input_], header=ARGUMENTS[header]))
        for input_, header in sizes
    ]
    chunks = list(chunks_of(calls))
    assert [call for chunk in chunks for call in chunk] == calls
    weights = [[len(call.request.input) + len(call.request.header) for call in chunk] for chunk in chunks]
    for position, chunk in enumerate(weights):
        assert 1 <= len(chunk) <= _JOBS_PER_REQUEST
        assert len(chunk) == 1 or sum(chunk) <= _BYTES_PER_REQUEST
        if position + 1 < len(weights):
            following = weights[position + 1][0]
            assert len(chunk) == _JOBS_PER_REQUEST or sum(chunk) + following > _BYTES_PER_REQUEST, "cut too early"
