"""Temporal's own server, where `make temporal-postgres` has built it."""

from __future__ import annotations

import pytest

from delegator.dev.temporal_postgres import TemporalPrograms
from delegator.errors import ConfigurationError


def _built() -> bool:
    try:
        TemporalPrograms.find()
    except ConfigurationError:
        return False
    return True


needs_temporal_server = pytest.mark.skipif(
    not _built(), reason="Temporal's own server is not built (make temporal-postgres)"
)
