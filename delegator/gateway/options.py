"""The options of a gateway."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from delegator.config import Settings
from delegator.contracts.json_schema import TypeSchema
from delegator.errors import ConfigurationError
from delegator.runtime.server_tls import TlsFiles, refuse_open

_MOST_PORT: Final = 65_535
_MOST_POLLS: Final = 100_000
_LEAST_BODY: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """The options of one gateway process."""

    queues: tuple[str, ...]
    """The queues served."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 7380
    """TCP port; 0: any free one."""
    token_file: Path | None = None
    """The tokens of workers; None: requests need none."""
    tls: TlsFiles | None = None
    """Its certificate; None: plain HTTP."""
    max_polls: int = 1000
    """Most polls that wait at a time."""
    max_body_bytes: int = 16 << 20
    """Largest body of a request."""
    types: tuple[TypeSchema, ...] = ()
    """Declared types, shown to workers that ask for them."""
    grace: timedelta = timedelta(seconds=30)
    """How long outcomes may be written after a request to stop."""

    def validate(self, settings: Settings) -> None:
        """Check the values before anything is started.

        Args:
            settings: declares the queues.

        Raises:
            ConfigurationError: names the option.
        """
        for queue in self.queues:
            if queue not in settings.queues:
                raise ConfigurationError(
                    f"--queue {queue}: not a declared queue (DELEGATOR_QUEUES declares {', '.join(settings.queues)}); "
                    "add it to DELEGATOR_QUEUES and run `delegator migrate`"
                )
            if queue in settings.ordered_queues:
                raise ConfigurationError(
                    f"--queue {queue}: it is ordered (DELEGATOR_ORDERED_QUEUES), and a gateway serves no ordered "
                    "queues; serve it with http-worker, and name the other queues with --queue"
                )
        for name, value, least, most in (
            ("--port", self.port, 0, _MOST_PORT),
            ("--max-polls", self.max_polls, 1, _MOST_POLLS),
            ("--max-body", self.max_body_bytes, _LEAST_BODY, 1 << 30),
        ):
            if not least <= value <= most:
                raise ConfigurationError(f"{name} {value}: must be from {least} to {most}")
        if self.grace < timedelta(0):
            raise ConfigurationError("--grace: must not be negative")
        refuse_open(self.host, has_token=self.token_file is not None, server="the gateway", cure="give --token-file")
