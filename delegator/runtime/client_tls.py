"""TLS of our own clients: which authorities they trust."""

from __future__ import annotations

import ssl
from pathlib import Path

from delegator.errors import ConfigurationError


def client_tls(ca_file: Path | None, variable: str) -> ssl.SSLContext | bool:
    """Return what aiohttp verifies a server's certificate with.

    Args:
        ca_file: the authorities whose certificates are trusted; None: the system's.
        variable: the setting that names the file.

    Raises:
        ConfigurationError: the file can't be read, or holds no certificate.
    """
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:  # ssl.SSLError is one
        reason = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f"{variable} {ca_file}: {reason}") from None


def stream_tls(ca_file: Path | None) -> ssl.SSLContext | bool:
    """Return what aiohttp verifies the stream's certificate with; the argument and the errors are as above."""
    return client_tls(ca_file, "DELEGATOR_STREAM_CA_FILE")
