"""What the settings refuse."""

from __future__ import annotations

from datetime import timedelta

import pytest

from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.operating.configuration import effective


@pytest.mark.parametrize("name", ["publication", "slot"])
def test_long_names(name: str) -> None:
    """A name that PostgreSQL would cut off is refused."""
    queues = ("default", "video")

    assert Settings.load(queues=queues, **{name: "x" * 57})
    with pytest.raises(ConfigurationError, match=rf"DELEGATOR_{name.upper()}: .*queue video .* than 63 bytes"):
        Settings.load(queues=queues, **{name: "x" * 58})
    assert Settings.load(queues=("default",), **{name: "x" * 63})


def test_long_queue_names() -> None:
    """The default names leave room for the longest queue name."""
    assert Settings.load(queues=("q" * 40,)).queues == ("q" * 40,)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("DELEGATOR_QUEUE", "DELEGATOR_QUEUES"),
        ("DELEGATOR_START_TIMOUT", "DELEGATOR_START_TIMEOUT"),
        ("DELEGATOR_LEESE", "DELEGATOR_LEASE"),
        ("DELEGATOR_SCHEMA_NAME", "DELEGATOR_SCHEMA"),
    ],
)
def test_misspelt_setting(monkeypatch: pytest.MonkeyPatch, variable: str, meant: str) -> None:
    """A misspelt setting is refused by name."""
    monkeypatch.setenv(variable, "x")
    with pytest.raises(ConfigurationError, match=f"{variable}: no such setting, .* did you mean {meant}?"):
        Settings.load()


WORDS = {
    "database_url": "postgresql://me@here/orders",
    "direct_database_url": "postgresql://me@here/orders",
    "schema_name": "jobs",
    "queues": "default,mails",
    "ordered_queues": "default",
    "task_queues": "mail=default",
    "outbox_notify": "off",
}


@pytest.mark.parametrize("field", Settings.model_fields)
def test_shown_name(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    """`delegator config` shows a setting under the variable that it is read from, and does not call that unknown."""
    variable = Settings.variable(field)
    kind = Settings.model_fields[field].annotation
    monkeypatch.setenv(variable, WORDS.get(field, "on" if kind is bool else "7"))
    found = effective()
    assert [(one.name, one.origin) for one in found.values if one.name == variable] == [(variable, "environment")]
    assert variable not in found.ignored
    assert getattr(Settings.load(), field) != getattr(Settings.model_construct(), field)


def test_wrong_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch with another word is refused with the words that it takes."""
    monkeypatch.setenv("DELEGATOR_LOG_MESSAGES", "maybe")
    with pytest.raises(ConfigurationError, match=r"^DELEGATOR_LOG_MESSAGES: write on or off, not 'maybe'$"):
        Settings.load()


def test_foreign_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other DELEGATOR_ variables are ignored: Kubernetes sets some for a service called `delegator`."""
    for variable in ("DELEGATOR_PORT", "DELEGATOR_SERVICE_HOST", "DELEGATOR_TEST_DIRECTORY"):
        monkeypatch.setenv(variable, "x")
    assert Settings.load()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@ss@db/app",
        "postgresql://u:p/ss@db/app",
        "postgresql://u:p?ss@db/app",
        "postgres://u:p#ss@db/app",
    ],
)
def test_unescaped_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A password that libpq would cut is refused, and no part of it is printed."""
    monkeypatch.setenv("DELEGATOR_DATABASE_URL", url)
    with pytest.raises(ConfigurationError, match="DELEGATOR_DATABASE_URL: write the characters") as refusal:
        Settings.load()
    assert "ss@" not in str(refusal.value)


@pytest.mark.parametrize(
    "url", ["postgresql://u:p%40ss@db/app?sslmode=require", "host=db password=p@ss", "postgresql://db"]
)
def test_escaped_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A URL that libpq reads as it is meant is taken, and so is a connection string."""
    monkeypatch.setenv("DELEGATOR_DATABASE_URL", url)
    assert Settings.load().database_url.get_secret_value() == url


def test_empty_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty token is refused: the relay would take it for none, and open itself to everybody."""
    monkeypatch.setenv("DELEGATOR_STREAM_TOKEN", "")
    with pytest.raises(ConfigurationError, match="DELEGATOR_STREAM_TOKEN: it is empty"):
        Settings.load()


def test_durations_of_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting that is a duration takes seconds, units and ISO 8601."""
    names = [name for name, field in Settings.model_fields.items() if field.annotation is timedelta]
    assert {"lease", "refusal_grace"} <= set(names)
    for text in ("90", "90s", "1m30s", "PT90S"):
        for name in names:
            monkeypatch.setenv(f"DELEGATOR_{name.upper()}", text)
        settings = Settings.load()
        assert [getattr(settings, name) for name in names] == [timedelta(seconds=90)] * len(names)
