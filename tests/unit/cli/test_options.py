"""Every long-running program has the same options, with the same names, texts and defaults."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from delegator.cli.main import build_app
from delegator.cli.options import parse_stall_limit
from delegator.errors import ConfigurationError
from http_workers.cli import app as http_worker

PROGRAMS = ("relay", "serve", "worker", "dev", "http-worker")
COMMON = {
    "--host": ("127.0.0.1", "Address that --port is opened on."),
    "--log-format": ("text", "How log lines are written."),
    "--log-level": ("info", "Least level logged."),
}


def options(program: str) -> dict[str, Any]:
    if program == "http-worker":
        command: Any = typer.main.get_command(http_worker)
    else:
        group: Any = typer.main.get_command(build_app(program))
        command = group.commands[program]
    return {name: option for option in command.params for name in option.opts}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("name", COMMON)
def test_common_options(program: str, name: str) -> None:
    default, text = COMMON[name]
    option = options(program)[name]
    assert (getattr(option.default, "value", option.default), option.help) == (default, text)


@pytest.mark.parametrize("program", PROGRAMS)
def test_port(program: str) -> None:
    """The relay's port always is open, because its streams are served there."""
    port = options(program)["--port"]
    if program == "relay":
        assert port.default == 7376
        assert port.help == "Port of the pull API, /health, /metrics, /livez and /readyz; 0: any free one."
    else:
        assert (port.default, port.help) == (0, "Port of /metrics, /livez and /readyz; 0: none of them is served.")


def test_values_are_named() -> None:
    """The help says what a repeated option takes, and not the name of its Python type."""

    def unnamed(command: Any, path: str) -> list[str]:
        below = [unnamed(one, f"{path} {name}") for name, one in getattr(command, "commands", {}).items()]
        own = [f"{path} {one.name}" for one in command.params if one.multiple and one.metavar is None]
        return [*own, *(name for names in below for name in names)]

    programs = {"delegator": build_app(None), "http-worker": http_worker}
    assert [name for program, app in programs.items() for name in unnamed(typer.main.get_command(app), program)] == []


@pytest.mark.parametrize("program", ["serve", "worker", "http-worker"])
def test_stall_limit(program: str) -> None:
    limit = options(program)["--stall-limit"]
    assert (limit.default, limit.metavar) == ("30s", "DURATION")
    assert limit.help == "How long a loop may make no progress until /livez answers 503."


@pytest.mark.parametrize("text", ["0", "999ms", "-1s", "soon"])
def test_stall_limit_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--stall-limit.*{text}"):
        parse_stall_limit(text)


@pytest.mark.parametrize("program", ["worker", "http-worker"])
def test_grace(program: str) -> None:
    grace = options(program)["--grace"]
    assert (grace.default, grace.metavar) == ("30s", "DURATION")
    assert grace.help == "How long running work may go on after a request to stop."
