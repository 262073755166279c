"""What the settings refuse."""

from __future__ import annotations

import pytest

from delegator.config import Settings
from delegator.errors import ConfigurationError


@pytest.mark.parametrize("name", ["publication", "slot"])
def test_a_name_that_postgresql_would_cut_off_is_refused(name: str) -> None:
    queues = ("default", "video")

    assert Settings.load(queues=queues, **{name: "x" * 57})
    with pytest.raises(ConfigurationError, match=rf"DELEGATOR_{name.upper()}: .*queue video .* than 63 bytes"):
        Settings.load(queues=queues, **{name: "x" * 58})
    assert Settings.load(queues=("default",), **{name: "x" * 63})


def test_the_default_names_leave_room_for_every_queue_name() -> None:
    assert Settings.load(queues=("q" * 40,)).queues == ("q" * 40,)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [("DELEGATOR_QUEUE", "DELEGATOR_QUEUES"), ("DELEGATOR_START_TIMOUT", "DELEGATOR_START_TIMEOUT")],
)
def test_a_misspelt_setting_is_told(monkeypatch: pytest.MonkeyPatch, variable: str, meant: str) -> None:
    monkeypatch.setenv(variable, "x")
    with pytest.raises(ConfigurationError, match=f"{variable}: no such setting, .* did you mean {meant}?"):
        Settings.load()


def test_variables_that_resemble_no_setting_may_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets some for a service called `delegator`."""
    for variable in ("DELEGATOR_PORT", "DELEGATOR_SERVICE_HOST", "DELEGATOR_TEST_DIRECTORY"):
        monkeypatch.setenv(variable, "x")
    assert Settings.load()
