"""The one handler that every arm runs: as an ordinary activity, as a standalone one, as a delegated job."""

from __future__ import annotations

from datetime import timedelta

from delegator import delegated
from loadtest.ledger import record
from loadtest.work import Piece, answer


@delegated(name="loadtest_crunch", start_to_close_timeout=timedelta(seconds=60))
async def crunch(piece: Piece) -> int:
    """Answer for one job."""
    record(piece)
    return answer(piece)
