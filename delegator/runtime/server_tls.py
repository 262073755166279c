"""Where our own servers listen: their certificate, and what is refused."""

from __future__ import annotations

import errno
import ipaddress
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from delegator.errors import ConfigurationError, first_line
from delegator.runtime.changed_files import ChangedFiles

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The certificate of a server."""

    certificate: Path
    """PEM: the certificate, then those between it and the authority's."""
    key: Path
    """PEM: its private key, not encrypted."""

    @classmethod
    def given(cls, certificate: Path | None, key: Path | None) -> Self | None:
        """Return what the options `--tls-cert` and `--tls-key` say; None: neither is given.

        Raises:
            ConfigurationError: only one is given.
        """
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            raise ConfigurationError("--tls-cert and --tls-key go together")
        return cls(certificate, key)


class ServerTls:
    """Serves TLS 1.2 and later with a certificate that may be replaced while the server runs.

    The files are looked at when a client connects. A new certificate is used from the next connection on.
    """

    def __init__(self, files: TlsFiles, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the files.

        Args:
            files: the certificate and its key.
            clock: in seconds.

        Raises:
            ConfigurationError: they can't be read, or do not belong together.
        """
        self._files = files
        self._watch = ChangedFiles(files.certificate, files.key, clock=clock)
        self._current = self._load()
        self.context: Final = self._current
        """What a server listens with."""

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = self._files
        try:
            # Without this an encrypted key would ask at the terminal for its passphrase.
            context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"--tls-cert {files.certificate} and --tls-key {files.key} are no certificate and its unencrypted key "
                f"in PEM: {error.reason or first_line(error)}"
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"--tls-cert {files.certificate}, --tls-key {files.key}: {error.strerror or first_line(error)}"
            ) from None
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Give a connection the current certificate. OpenSSL calls it for each, even if the client names no host."""
        if self._watch.changed():
            self._reload()
        if connection.context is not self._current:
            connection.context = self._current

    def _reload(self) -> None:
        try:
            self._current = self._load()
        except ConfigurationError as error:
            _log.error("certificate_not_read", extra={"reason": str(error)})
        else:
            _log.info("certificate_read", extra={"file": str(self._files.certificate)})


def is_loopback(host: str) -> bool:
    """Return whether an address is one of this machine's own, which no other machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_open(host: str, *, has_token: bool, server: str, cure: str) -> None:
    """Refuse to serve the network without a token.

    Args:
        host: where to listen.
        has_token: whether requests need one.
        server: for the message.
        cure: how to give one.

    Raises:
        ConfigurationError: other machines could reach the server, and it asks for no token.
    """
    if not has_token and not is_loopback(host):
        raise ConfigurationError(
            f"--host {host}: {server} would answer every machine that reaches it, without a token; {cure}, or leave "
            "--host at 127.0.0.1"
        )


def cannot_listen(error: OSError, host: str, port: int) -> ConfigurationError:
    """Return the error for an address that a server can't listen on.

    Args:
        error: what the system said.
        host: where to listen.
        port: the port.
    """
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(f"port {port} on {host} is taken; choose another with --port")
    return ConfigurationError(f"can't listen on {host}:{port}: {error.strerror}; check --host and --port")


def base_url(address: tuple[str, int], *, has_tls: bool) -> str:
    """Return the URL of a server, without a slash at the end.

    Args:
        address: where it listens.
        has_tls: whether it serves TLS.
    """
    host, port = address
    return f"{'https' if has_tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
