"""Settings shared by every process of the engine, read from the environment (`DELEGATOR_*`)."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Self

from delegator_schema.queues import DEFAULT_QUEUE, LONGEST_IDENTIFIER, is_queue_name, queue_slot
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from delegator.durations import parse_duration
from delegator.errors import ConfigurationError

_ALIKE: Final = 0.8
_SCHEMA: Final = "DELEGATOR_SCHEMA"
_LEAST_LEASE: Final = timedelta(seconds=1)
"""Workers renew a lease three times in its length. A shorter one runs out while a machine is busy."""


class Settings(BaseSettings):
    """Where the servers are and which queues exist.

    Temporal's own settings (`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS*`,
    profiles) are read by `temporalio.envconfig`. A duration is written as seconds (`20`, `0.5`), with units (`90s`,
    `1h30m`) or as ISO 8601 (`PT20S`).
    """

    model_config = SettingsConfigDict(env_prefix="DELEGATOR_", frozen=True, extra="ignore", populate_by_name=True)

    database_url: SecretStr = SecretStr("postgresql://postgres@127.0.0.1:5432/postgres")
    """libpq connection string or URL of the database that holds `custom_task_queue`. It may be that of a pooler."""
    direct_database_url: SecretStr | None = None
    """The same database without a pooler, for what needs a session of its own: the leader's lock, notifications,
    replication and migrations. Needed if `DELEGATOR_DATABASE_URL` leads to PgBouncer in transaction mode."""
    schema_name: str | None = Field(default=None, validation_alias=_SCHEMA)
    """The schema of the tables, which `delegator migrate` makes if it is missing; unset: the first one of the role's
    `search_path`. Each schema of a database is a deployment of its own."""
    stream_url: str = "http://127.0.0.1:7376"
    """Base URL of Sequin or of `delegator relay`. For several relays, of which one streams, all their URLs,
    comma-separated."""
    stream_token: SecretStr | None = None
    """API token for the stream; sent as `Authorization: Bearer`."""
    stream_ca_file: Path | None = None
    """File of the authorities (PEM) that may have signed the stream's certificate; empty: those of the system."""
    queues: Annotated[tuple[str, ...], NoDecode] = (DEFAULT_QUEUE,)
    """Declared queues, comma-separated; each has its own table, publication, replication slot, stream and pool."""
    ordered_queues: Annotated[tuple[str, ...], NoDecode] = ()
    """The declared queues that hand jobs out by priority and fairness, comma-separated. Fleet-wide limits need this."""
    task_queues: Annotated[Mapping[str, str | None], NoDecode] = Field(default_factory=dict)
    """Queues of intercepted calls that name a task queue, such as `mail=mails,gpu=`. Calls to a task queue that has no
    queue stay ordinary activities."""
    publication: str = "delegator_publication"
    """Name of the default queue's publication; another queue's is `<publication>_<queue>`. With DELEGATOR_SCHEMA the
    default is `<schema>_publication`."""
    slot: str = "delegator_slot"
    """Name of the default queue's logical replication slot, for the relay and in the generated sequin.yml; another
    queue's is `<slot>_<queue>`. With DELEGATOR_SCHEMA the default is `<schema>_slot`."""
    data_converter: str | None = None
    """`package.module:attribute` of the Temporal data converter (payload codec, pydantic, ...); empty: the default.
    `delegator.encryption:data_converter` encrypts."""
    encryption_keys: SecretStr | None = None
    """Keys of `delegator.encryption`, as `ID:BASE64`, separated by commas. The first one encrypts, all of them
    decrypt."""
    encryption_keys_file: Path | None = None
    """File with these keys, one a line, instead of `DELEGATOR_ENCRYPTION_KEYS`."""
    codec_token: SecretStr | None = None
    """Token that requests to `delegator codec-server` must carry; `--token-file` can hold several."""
    ui_token: SecretStr | None = None
    """Token with which people log in to `delegator ui`, and which requests to its API carry; `--token-file` can hold
    several. Without one the page only reads, and listens on the loopback address only."""
    gateway_token: SecretStr | None = None
    """Token that `http-worker --via` sends to the gateway."""
    gateway_token_file: Path | None = None
    """File with this token, instead of `DELEGATOR_GATEWAY_TOKEN`. It is read again when it has changed."""
    gateway_ca_file: Path | None = None
    """File of the authorities (PEM) that may have signed the gateway's certificate; empty: those of the system."""
    start_timeout: timedelta = timedelta(seconds=20)
    """How long a starting process waits for a server that does not answer yet, before it gives up with exit code 2."""
    lease: timedelta = timedelta(seconds=15)
    """How long a silent worker keeps its jobs. After that time the jobs of a dead worker run again. At least
    one second."""
    refusal_grace: timedelta = timedelta(days=1)
    """How long a job may be refused by workers that have no handler for its type or can't decode its arguments, as
    after a bad deployment. Then it becomes a dead letter. Its retry policy and its timeouts may end it earlier."""
    result_retention: timedelta = timedelta(minutes=5)
    """How long a completed row waits for an enqueuer that died."""
    jobs_outlive_runs: bool = False
    """Whether jobs go on when the workflow run that enqueued them has closed. If not, waiting jobs are removed and
    running ones are told to stop, as Temporal does with activities."""
    search_attributes: bool = False
    """Whether workflows that wait for jobs longer than inline set the search attributes `DelegatorTypes` and
    `DelegatorRetrying`. Each change is an event in the history. The namespace must have them; `delegator doctor` says
    so, with the command."""
    outbox_notify: bool = True
    """Whether an application's commit wakes the outbox's dispatcher. PostgreSQL serialises the commits of notifying
    transactions. Off, for applications with thousands of commits a second: the dispatcher looks every 100 ms. Then a
    transaction that uses the outbox may also be prepared (two-phase commit)."""
    outbox_not_found_for: timedelta = timedelta(seconds=60)
    """How long an operation of the outbox is tried whose workflow or namespace Temporal does not know. Then it becomes
    a dead letter."""
    log_messages: bool = False
    """Whether the engine's log lines may hold the messages and tracebacks of failed attempts and of other libraries'
    errors. If not, they name only the type and the place, because a message may quote what a payload codec hides."""

    @model_validator(mode="before")
    @classmethod
    def _names_of_schema(cls, values: Any) -> Any:
        """Derive the names that a database or a cluster has once from the schema."""
        given = {str(name).lower(): value for name, value in values.items()}
        schema = given.get("schema_name") or given.get(_SCHEMA.lower())
        if schema and schema != "public":
            values = {"publication": f"{schema}_publication", "slot": f"{schema}_slot", **values}
        return values

    @field_validator("schema_name")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and (not is_queue_name(value) or value.startswith("pg_")):
            raise ValueError(f"{value!r} is not a schema name (a-z, 0-9, _; a letter first; at most 40; not pg_...)")
        return value

    @field_validator(
        "start_timeout", "lease", "refusal_grace", "result_retention", "outbox_not_found_for", mode="before"
    )
    @classmethod
    def _readable(cls, value: object, info: ValidationInfo) -> object:
        return parse_duration(value, cls.variable(str(info.field_name))) if isinstance(value, str) else value

    @field_validator("database_url", "direct_database_url")
    @classmethod
    def _unambiguous(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return value
        scheme, separator, rest = value.get_secret_value().partition("://")
        if not separator or not scheme.startswith("postgres"):
            return value
        # libpq takes an unescaped @, / or ? of a password for the end of it, and quotes the rest in its errors.
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        if rest.count("@") > authority.count("@") or authority.count("@") > 1:
            raise ValueError("write the characters @ / ? # of its user and password as %40 %2F %3F %23")
        return value

    @field_validator("stream_token", "codec_token", "ui_token", "gateway_token")
    @classmethod
    def _not_empty(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("it is empty: give it a token, or unset it")
        return value

    @field_validator(
        "data_converter",
        "encryption_keys",
        "encryption_keys_file",
        "stream_ca_file",
        "gateway_token_file",
        "gateway_ca_file",
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        # Container and unit files can set a variable to nothing, but hardly unset it.
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("lease")
    @classmethod
    def _long_enough(cls, value: timedelta) -> timedelta:
        if value < _LEAST_LEASE:
            raise ValueError("a lease must be at least 1 second")
        return value

    @field_validator("queues", "ordered_queues", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("task_queues", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [[side.strip() for side in part.rpartition("=")] for part in value.split(",") if part.strip()]
        if any(not name for name, _, _ in pairs):
            raise ValueError("write TASK_QUEUE=QUEUE, separated by commas")
        return {name: queue or None for name, _, queue in pairs}

    @field_validator("queues")
    @classmethod
    def _valid(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not is_queue_name(name):
                raise ValueError(f"{name!r} is not a queue name (a-z, 0-9, _; a letter first; at most 40)")
        if not value or len(set(value)) != len(value):
            raise ValueError("name each queue once, and at least one")
        return value

    @field_validator("ordered_queues")
    @classmethod
    def _declared(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for name in value:
            if name not in info.data.get("queues", value):
                raise ValueError(f"queue {name!r} is not in DELEGATOR_QUEUES")
        return value

    @field_validator("publication", "slot")
    @classmethod
    def _short(cls, value: str, info: ValidationInfo) -> str:
        for queue in info.data.get("queues", ()):
            # A publication's name is made like a slot's. PostgreSQL cuts a long name, perhaps to another queue's.
            if len(queue_slot(queue, value).encode()) > LONGEST_IDENTIFIER:
                raise ValueError(f"with queue {queue} behind it, the name is longer than {LONGEST_IDENTIFIER} bytes")
        return value

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Read the environment.

        Args:
            overrides: settings given on the command line; None means not given.

        Raises:
            ConfigurationError: a value is not valid, or a name is misspelt. The message names the variable.
        """
        known = [cls.variable(field).removeprefix("DELEGATOR_").lower() for field in cls.model_fields]
        for variable in sorted(os.environ):
            name = variable.removeprefix("DELEGATOR_").lower()
            if variable.startswith("DELEGATOR_") and name not in known:
                # A field's own name is read, too, if its variable has another one: nothing documents that.
                alike = [name] if name in cls.model_fields else difflib.get_close_matches(name, known, 1, _ALIKE)
                if alike:
                    meant = cls.variable(alike[0])
                    raise ConfigurationError(
                        f"{variable}: no such setting, and it would be ignored; did you mean {meant}?"
                    )
        try:
            return cls(**{k: v for k, v in overrides.items() if v is not None})  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            name = cls.variable("_".join(str(part) for part in first["loc"][:1]))
            text = first["msg"].removeprefix("Value error, ")
            if first["type"] == "bool_parsing":
                text = f"write on or off, not {first['input']!r}"
            raise ConfigurationError(f"{name}: {text}") from None

    @staticmethod
    def variable(field: str) -> str:
        """Return the name of a field's environment variable."""
        return _SCHEMA if field in ("schema_name", _SCHEMA) else f"DELEGATOR_{field.upper()}"
