"""Options that several programs have: declared once, so that their names, texts and meanings agree."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from delegator.config import Settings
from delegator.durations import parse_duration
from delegator.errors import ConfigurationError
from delegator.runtime.logs import LogFormat, LogLevel, configure_logging

_HIGHEST_PORT = 65_535


def whole_number(text: str | int) -> int:
    """Read the value of an option that is a whole number. The library's own error names its parser.

    Args:
        text: as typed, or the option's default.

    Raises:
        typer.BadParameter: it is not a whole number.
    """
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number") from None


NUMBER: Final[dict[str, Any]] = {"parser": whole_number, "metavar": "NUMBER"}
"""Arguments of `typer.Option` for an option that is a whole number."""

HostOption = Annotated[str, typer.Option("--host", help="Address that --port is opened on.")]
PortOption = Annotated[
    int, typer.Option("--port", help="Port of /metrics, /livez and /readyz; 0: none of them is served.", **NUMBER)
]
StallLimitOption = Annotated[
    str,
    typer.Option(
        "--stall-limit",
        metavar="DURATION",
        help="How long a loop may make no progress until /livez answers 503.",
    ),
]
ActivitiesQueueOption = Annotated[str, typer.Option("--activities-queue", help="Queue of the jobs of --activities.")]
GraceOption = Annotated[
    str,
    typer.Option("--grace", metavar="DURATION", help="How long running work may go on after a request to stop."),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File of tokens, one a line, that requests may carry. It is read again when it has changed.",
        show_default=False,
    ),
]
TlsCertOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert",
        help="Serve TLS with this certificate (PEM, with its chain). It may be replaced while the process runs.",
        show_default=False,
    ),
]
TlsKeyOption = Annotated[
    Path | None,
    typer.Option("--tls-key", help="The private key of --tls-cert (PEM, not encrypted).", show_default=False),
]
LogFormatOption = Annotated[LogFormat, typer.Option("--log-format", help="How log lines are written.")]
LogLevelOption = Annotated[LogLevel, typer.Option("--log-level", help="Least level logged.")]

DEFAULT_HOST = "127.0.0.1"
DEFAULT_GRACE = "30s"
DEFAULT_STALL_LIMIT = "30s"


def check_port(port: int, option: str = "--port") -> None:
    """Refuse a number that is not a port.

    Args:
        port: the number; 0 is allowed.
        option: named in the message.

    Raises:
        ConfigurationError: it is not.
    """
    if not 0 <= port <= _HIGHEST_PORT:
        raise ConfigurationError(f"{option} {port}: must be from 0 to {_HIGHEST_PORT}")


def parse_stall_limit(text: str) -> timedelta:
    """Read the value of `--stall-limit`.

    Args:
        text: a duration, such as `30s`.

    Raises:
        ConfigurationError: it is no duration, or shorter than a second.
    """
    limit = parse_duration(text, "--stall-limit")
    if limit < timedelta(seconds=1):
        raise ConfigurationError(f"--stall-limit {text}: must be at least 1 second")
    return limit


def set_up_logging(
    settings: Settings, log_format: LogFormat, log_level: LogLevel, fields: Mapping[str, object] | None = None
) -> None:
    """Configure the logging of a program.

    Args:
        settings: say whether messages are logged.
        log_format: of `--log-format`.
        log_level: of `--log-level`.
        fields: added to every line.
    """
    configure_logging(log_format, log_level.number, messages=settings.log_messages, fields=fields)
