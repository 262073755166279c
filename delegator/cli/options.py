"""Options that several programs have: declared once, so that their names, texts and meanings agree."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from delegator_schema.queues import is_queue_name

from delegator.cli.output import whole_positive
from delegator.config import Settings
from delegator.durations import parse_duration, parse_moment
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
SdkPortOption = Annotated[
    int,
    typer.Option(
        "--sdk-port",
        help="Port of the metrics of Temporal's SDK (temporal_*, and those of activity.metric_meter()) on the same "
        "address; 0: none. Further processes take the ports above it.",
        **NUMBER,
    ),
]
StallLimitOption = Annotated[
    str,
    typer.Option(
        "--stall-limit",
        metavar="DURATION",
        help="How long a loop may make no progress until /livez answers 503.",
    ),
]
ActivitiesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--activities",
        metavar="MODULE",
        help="Module whose existing @activity.defn functions are such types, too.",
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

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="Default: DELEGATOR_DATABASE_URL. Give no password here: every user of the machine sees it in `ps`.",
        show_default=False,
    ),
]
QueueOption = Annotated[str | None, typer.Option("--queue", metavar="NAME", help="Of this queue.")]
TypeOption = Annotated[str | None, typer.Option("--type", metavar="NAME", help="Of this delegated activity type.")]
WorkflowOption = Annotated[str | None, typer.Option("--workflow-id", metavar="ID", help="Enqueued by this workflow.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing; print what would be changed.")]
AllOption = Annotated[bool, typer.Option("--all", help="Every one, where neither ids nor filters are given.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WatchOption = Annotated[bool, typer.Option("--watch", help="Print it again every two seconds, until interrupted.")]

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


def bounds(since: str | None, until: str | None, limit: str | None) -> dict[str, Any]:
    """Return the values of `--since`, `--until` and `--limit`. What was not given is None.

    Raises:
        ConfigurationError: a value can't be read.
    """
    return {
        "since": None if since is None else parse_moment(since, "--since"),
        "until": None if until is None else parse_moment(until, "--until"),
        "limit": None if limit is None else whole_positive(limit, f"--limit {limit}: not a positive number"),
    }


def check_queue(settings: Settings, queue: str | None, option: str = "--queue ") -> None:
    """Refuse the name of a queue that is not declared.

    Args:
        settings: the declared queues.
        queue: the name; None: none was given.
        option: stands before the name in the message.

    Raises:
        ConfigurationError: it is not declared, or can't be the name of a queue.
    """
    if queue is None or queue in settings.queues:
        return
    if not is_queue_name(queue):
        raise ConfigurationError(f"{option}{queue}: not a queue name (a-z, 0-9, _; a letter first; at most 40)")
    raise ConfigurationError(
        f"{option}{queue}: not a declared queue (DELEGATOR_QUEUES declares {', '.join(settings.queues)}); for a queue"
        " that was declared once, name it in DELEGATOR_QUEUES for this command"
    )


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
