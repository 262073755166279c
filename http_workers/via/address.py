"""The address of a gateway."""

from __future__ import annotations

from typing import Final

from yarl import URL

from delegator.errors import ConfigurationError

TOKEN_FILE: Final = "DELEGATOR_GATEWAY_TOKEN_FILE"


def base_url(url: str) -> URL:
    """Return the base URL of a gateway.

    Raises:
        ConfigurationError: it is none, or holds credentials.
    """
    try:
        base = URL(url)
        port = base.port
    except ValueError:
        base, port = URL(), None
    if base.scheme not in ("http", "https") or not base.host or port is None or base.query_string or base.fragment:
        raise ConfigurationError("--via: not a URL like https://gateway.example.com")
    if base.user is not None or base.password is not None:
        raise ConfigurationError(
            f"--via: it holds credentials; put the token in DELEGATOR_GATEWAY_TOKEN or {TOKEN_FILE}"
        )
    return base
