"""Points in time as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from delegator.cli.moments import parse_moment
from delegator.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5d", timedelta(hours=36)),
        ("2w", timedelta(days=14)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+01:00", datetime(2026, 1, 31, 11, tzinfo=UTC)),
    ],
)
def test_durations_and_times(text: str, moment: datetime | timedelta) -> None:
    assert parse_moment(text, "--since") == moment


@pytest.mark.parametrize(
    "text", ["", "1", "h", "1x", "-1h", "1h ", "yesterday", "2026-13-01", "9" * 400 + "w", "\uff11h"]
)
def test_malformed_moment(text: str) -> None:
    """Text that is neither a duration nor a time is refused, with the option's name."""
    with pytest.raises(ConfigurationError, match=r"^--since .*: neither a duration"):
        parse_moment(text, "--since")
