"""Durations and points in time as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from delegator.config import Settings
from delegator.durations import parse_duration, parse_moment
from delegator.errors import ConfigurationError

NOT_DURATIONS = [
    "",
    "h",
    "1x",
    "-1h",
    "-5",
    "nan",
    "inf",
    "1e3",
    "1 h",
    "P",
    "PT",
    "P1X",
    "PT1H2",
    "9" * 400 + "w",
    "\uff11h",
]


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("20", timedelta(seconds=20)),
        ("0.5", timedelta(milliseconds=500)),
        ("0", timedelta(0)),
        ("500ms", timedelta(milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5d", timedelta(hours=36)),
        ("2w", timedelta(days=14)),
        ("PT20S", timedelta(seconds=20)),
        ("PT0.5S", timedelta(milliseconds=500)),
        ("P1DT2H3M", timedelta(days=1, hours=2, minutes=3)),
    ],
)
def test_durations(text: str, duration: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option and a setting take the same forms; `--since` takes them, too."""
    assert parse_duration(text, "--grace") == duration
    assert parse_moment(text, "--since") == duration
    monkeypatch.setenv("DELEGATOR_START_TIMEOUT", text)
    assert Settings.load().start_timeout == duration


@pytest.mark.parametrize("text", NOT_DURATIONS)
def test_not_durations(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the option or the setting, and the forms."""
    with pytest.raises(ConfigurationError, match=r"^--grace .*: not a duration; write seconds \(20, 0\.5\)"):
        parse_duration(text, "--grace")
    monkeypatch.setenv("DELEGATOR_START_TIMEOUT", text)
    with pytest.raises(ConfigurationError, match=r"^DELEGATOR_START_TIMEOUT .*: not a duration; write seconds"):
        Settings.load()


@pytest.mark.parametrize("text", ["0", "999ms"])
def test_short_lease(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELEGATOR_LEASE", text)
    with pytest.raises(ConfigurationError, match="^DELEGATOR_LEASE: a lease must be at least 1 second$"):
        Settings.load()
    monkeypatch.setenv("DELEGATOR_LEASE", "1s")
    assert Settings.load()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+01:00", datetime(2026, 1, 31, 11, tzinfo=UTC)),
    ],
)
def test_times(text: str, moment: datetime) -> None:
    assert parse_moment(text, "--since") == moment


@pytest.mark.parametrize("text", [*NOT_DURATIONS, "yesterday", "2026-13-01"])
def test_neither(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--since .*: neither a time .* nor a duration"):
        parse_moment(text, "--since")
