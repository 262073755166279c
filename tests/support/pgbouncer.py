"""A real PgBouncer in front of a PostgreSQL of the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from delegator.dev.accounts import temporary_bases
from delegator.dev.ports import reserve

_START_SECONDS = 60


def program() -> str | None:
    """Return PgBouncer's path, or None. Debian has it in /usr/sbin. Tests that need it are marked `pgbouncer`.

    It is not looked for at import: the sandbox of a workflow that imports these modules refuses that.
    """
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def running_pgbouncer(url: str, users: Mapping[str, str], *, mode: str = "transaction", size: int = 3) -> Iterator[str]:
    """Run one.

    Args:
        url: of PostgreSQL.
        users: who may connect, with their passwords.
        mode: `transaction` or `session`.
        size: sessions with PostgreSQL for each user and database.

    Yields:
        Its address, `host:port`.
    """
    server = urlsplit(url)
    port = reserve()
    with tempfile.TemporaryDirectory(prefix="delegator-pgbouncer-", dir=temporary_bases()[0]) as name:
        directory = Path(name)
        directory.chmod(0o755)
        users_file, config = directory / "users.txt", directory / "pgbouncer.ini"
        users_file.write_text("".join(f'"{user}" "{password}"\n' for user, password in users.items()))
        config.write_text(
            f"[databases]\n* = host={server.hostname} port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port.number}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {users_file}\n"
            f"pool_mode = {mode}\ndefault_pool_size = {size}\nmax_client_conn = 200\n"
        )
        port.release()
        # It refuses to run as root.
        account = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
        with (
            (directory / "log").open("wb") as log,
            subprocess.Popen([str(program()), str(config)], stdout=log, stderr=log, **account) as process,  # type: ignore[call-overload]
        ):
            try:
                _wait(process, port.number, directory / "log")
                yield f"127.0.0.1:{port.number}"
            finally:
                process.kill()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up_at = time.monotonic() + _START_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < give_up_at, log.read_text()
            time.sleep(0.02)
        else:
            return
