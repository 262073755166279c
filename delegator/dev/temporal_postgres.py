"""Temporal's own server with its own PostgreSQL, as in production. `make temporal-postgres` builds it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

import psycopg
from google.protobuf.duration_pb2 import Duration
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from delegator.dev.ports import LOOPBACK
from delegator.dev.postgres import SUPERUSER, Postgres
from delegator.dev.processes import Child, Command
from delegator.dev.temporal import DYNAMIC_CONFIG, NAMESPACE, USUAL_PORT, Temporal
from delegator.errors import ConfigurationError, DependencyError
from delegator.runtime.search_attributes import create_search_attributes

SETTINGS: Final[Mapping[str, str]] = MappingProxyType({"wal_level": "replica"})
"""Settings that differ from those of the queue's PostgreSQL: this one needs no logical decoding."""

_BUILT: Final = Path(__file__).parents[2] / ".tools" / "bin"
_STORES: Final = MappingProxyType({"temporal": "temporal", "temporal_visibility": "visibility"})
_PLUGIN: Final = "postgres12"
_SERVICES: Final = ("frontend", "history", "matching", "worker")
# The order in which ports are reserved: gRPC, metrics, HTTP API, then two for each service. The first service has one.
_EXTRA_PORTS: Final = 2 * len(_SERVICES) - 1
_SHARDS: Final = 4
_RETENTION: Final = timedelta(days=1)
_PROBE_TIMEOUT: Final = timedelta(seconds=2)
_PROBE: Final = "delegator-probe"
# Also the limits that the dev server sets for itself, so that neither server is throttled.
_LIMITS: Final = MappingProxyType(
    {
        "frontend.persistenceMaxQPS": 10_000,
        "history.persistenceMaxQPS": 45_000,
        "history.hostLevelCacheMaxSize": 8_096,
        "frontend.namespaceRPS.visibility": 100,
    }
)


@dataclass(frozen=True, slots=True)
class TemporalPrograms:
    """The binaries."""

    server: Path
    """`temporal-server`."""
    sql_tool: Path
    """`temporal-sql-tool`: makes the schema."""

    @classmethod
    def find(cls) -> Self:
        """Find them in the folder of `make temporal-postgres`, else on PATH.

        Raises:
            ConfigurationError: they are not there.
        """
        names = ("temporal-server", "temporal-sql-tool")
        found = [shutil.which(name, path=f"{_BUILT}{os.pathsep}{os.environ.get('PATH', '')}") for name in names]
        if None in found:
            missing = " and ".join(name for name, path in zip(names, found, strict=True) if path is None)
            raise ConfigurationError(
                f"Temporal on PostgreSQL needs {missing}, which is neither in {_BUILT} nor on PATH: "
                "run `make temporal-postgres` (needs Go; about four minutes, once)"
            )
        server, sql_tool = (Path(path) for path in found if path is not None)
        return cls(server, sql_tool)


class TemporalOnPostgres(Temporal):
    """One Temporal server with all services in one process. Its data is in a PostgreSQL that runs already."""

    def __init__(
        self,
        directory: Path,
        log: Path,
        postgres: Postgres,
        programs: TemporalPrograms,
        *,
        durable: bool,
        preferred_port: int | None = USUAL_PORT,
    ) -> None:
        """Describe the server.

        Args:
            directory: for its configuration, which holds PostgreSQL's password. It is made if missing.
            log: its log file.
            postgres: its database server. It must run already.
            programs: the binaries.
            durable: the data is kept. Then a stop is graceful.
            preferred_port: the usual gRPC port; None: any port.
        """
        super().__init__("temporal", log, (preferred_port, *(None,) * (2 + _EXTRA_PORTS)))
        self._directory = directory
        self._postgres = postgres
        self._programs = programs
        self._durable = durable

    @property
    def address(self) -> str:
        """`host:port` of its gRPC frontend."""
        return f"{LOOPBACK}:{self.ports[0]}"

    @property
    def metrics_url(self) -> str:
        """URL of its Prometheus metrics."""
        return f"http://{LOOPBACK}:{self.ports[1]}/metrics"

    async def prepare(self) -> None:
        """Create the databases that are missing, and bring their schemas up to date.

        Raises:
            DependencyError: PostgreSQL or the schema tool refuses.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for database, schema in _STORES.items():
            url = await self._postgres.ensure_database(database)
            async with await psycopg.AsyncConnection.connect(url) as connection:
                cursor = await connection.execute("SELECT to_regclass('schema_version') IS NULL")
                row = await cursor.fetchone()
            if row == (True,):
                await self._sql_tool(database, "setup-schema", "--version", "0.0")
            await self._sql_tool(database, "update-schema", "--schema-name", f"postgresql/v12/{schema}")

    def command(self) -> Command:
        """Write the configuration with the current ports, and return the server's command."""
        dynamic = self._directory / "dynamic.json"
        # JSON is YAML too.
        dynamic.write_text(json.dumps(_dynamic_config()))
        config = self._directory / "server.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps(self._config(dynamic)))
        arguments = ("--config-file", str(config), "--allow-no-auth", "start")
        return Command((str(self._programs.server), *arguments), self.log, _environment())

    async def stop(self) -> None:
        """Stop it: gracefully if its data is kept, else at once."""
        await (super().stop() if self._durable else super().kill())

    async def is_ready(self, child: Child) -> bool:
        """Return whether all services answer for its namespace. The first start registers the namespace here."""
        try:
            client = await Client.connect(self.address, namespace=NAMESPACE)
            await _register_namespace(client)
            await _create_search_attributes(client)
            await client.workflow_service.describe_task_queue(
                DescribeTaskQueueRequest(namespace=NAMESPACE, task_queue=TaskQueue(name=_PROBE)), timeout=_PROBE_TIMEOUT
            )
            await client.get_workflow_handle(_PROBE).describe(rpc_timeout=_PROBE_TIMEOUT)
        except RuntimeError:
            return False
        except RPCError as error:
            return error.status is RPCStatusCode.NOT_FOUND and f"{_PROBE}" in error.message
        return True

    def _config(self, dynamic: Path) -> dict[str, Any]:
        grpc, metrics, http, frontend_membership, *others = self.ports
        ports = {"frontend": (grpc, frontend_membership)} | {
            service: (others[2 * number], others[2 * number + 1]) for number, service in enumerate(_SERVICES[1:])
        }
        services: dict[str, dict[str, Any]] = {
            service: {"rpc": {"grpcPort": port, "membershipPort": membership, "bindOnLocalHost": True}}
            for service, (port, membership) in ports.items()
        }
        services["frontend"]["rpc"]["httpPort"] = http
        disabled = {"history": {"state": "disabled"}, "visibility": {"state": "disabled"}}
        return {
            "log": {"stdout": True, "level": "error"},
            "persistence": {
                "defaultStore": "temporal",
                "visibilityStore": "temporal_visibility",
                "numHistoryShards": _SHARDS,
                "datastores": {database: {"sql": self._store(database)} for database in _STORES},
            },
            "global": {
                "membership": {"maxJoinDuration": "30s", "broadcastAddress": LOOPBACK},
                "metrics": {
                    "prometheus": {
                        "framework": "tally",
                        "timerType": "histogram",
                        "listenAddress": f"{LOOPBACK}:{metrics}",
                    }
                },
            },
            "services": services,
            "clusterMetadata": {
                "enableGlobalNamespace": False,
                "failoverVersionIncrement": 10,
                "masterClusterName": "active",
                "currentClusterName": "active",
                "clusterInformation": {
                    "active": {
                        "enabled": True,
                        "initialFailoverVersion": 1,
                        "rpcName": "frontend",
                        "rpcAddress": self.address,
                        "httpAddress": f"{LOOPBACK}:{http}",
                    }
                },
            },
            "dcRedirectionPolicy": {"policy": "noop"},
            "archival": disabled,
            "namespaceDefaults": {"archival": disabled},
            "dynamicConfigClient": {"filepath": str(dynamic), "pollInterval": "1m"},
        }

    def _store(self, database: str) -> dict[str, Any]:
        return {
            "pluginName": _PLUGIN,
            "databaseName": database,
            "connectAddr": f"{LOOPBACK}:{self._postgres.ports[0]}",
            "connectProtocol": "tcp",
            "user": SUPERUSER,
            "password": self._postgres.password,
            "maxConns": 20 if database == "temporal" else 10,
            "maxIdleConns": 20 if database == "temporal" else 10,
            "maxConnLifetime": "1h",
        }

    async def _sql_tool(self, database: str, *arguments: str) -> None:
        where = ("--plugin", _PLUGIN, "--endpoint", LOOPBACK, "--port", str(self._postgres.ports[0]))
        command = Command(
            (str(self._programs.sql_tool), *where, "--user", SUPERUSER, "--database", database, *arguments),
            self.log,
            _environment() | {"SQL_PASSWORD": self._postgres.password},
        )
        child = await Child.spawn(command)
        try:
            if await child.wait() != 0:
                raise DependencyError(
                    f"temporal-sql-tool {arguments[0]} failed; its log {self.log} ends with:\n{child.tail()}"
                )
        except BaseException:
            await child.kill()
            raise


async def _register_namespace(client: Client) -> None:
    retention = Duration()
    retention.FromTimedelta(_RETENTION)
    request = RegisterNamespaceRequest(namespace=NAMESPACE, workflow_execution_retention_period=retention)
    try:
        await client.workflow_service.register_namespace(request, timeout=_PROBE_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise


async def _create_search_attributes(client: Client) -> None:
    try:
        await create_search_attributes(client)
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise


def _dynamic_config() -> dict[str, Any]:
    return {key: [{"value": value}] for key, value in {**DYNAMIC_CONFIG, **_LIMITS}.items()}


def _environment() -> dict[str, str]:
    """Return the environment of this process without the variables that the programs read as options."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("TEMPORAL_", "SQL_", "PG"))}
