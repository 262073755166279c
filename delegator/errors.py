"""Every error the engine raises.

    DelegatorError
    ├── ConfigurationError        a setting, argument or declaration is wrong; the message names it
    │   ├── SchemaError           the database differs from the declarations; `delegator migrate` fixes it
    │   └── WorkerRefusedError    a supervised worker process refused to start (`http_workers`)
    ├── DependencyError           PostgreSQL, the stream, the gateway or Temporal can't be reached, or refuses
    │   ├── DatabaseError
    │   ├── StreamError
    │   │   └── StreamRefusedError  only a person can fix it: a wrong token, a missing stream (`http_workers`)
    │   ├── GatewayError
    │   │   ├── GatewayRefusedError  only a person can fix it: a wrong token (`http_workers`)
    │   │   ├── GatewayBusyError  it has no time for the request now (`http_workers`)
    │   │   └── BodyTooLargeError  it takes no request of this size (`http_workers`)
    │   ├── TemporalError
    │   │   └── NotDeliveredError   Temporal has refused signals for longer than the sender is patient
    │   └── ResourceError         a resource of a worker can't be opened or closed
    └── WireError                 bytes from a peer do not follow the protocol
        └── UnreadablePayloadError  a payload is encoded in a way, or with a key, that this process does not have

A workflow never sees these: it gets Temporal's own errors (`temporalio.exceptions`).
"""

from __future__ import annotations

import traceback


class DelegatorError(Exception):
    """The root. Messages never hold a payload or a secret."""


class ConfigurationError(DelegatorError):
    """A setting, an argument or a declaration is wrong; nothing was changed."""


class SchemaError(ConfigurationError):
    """The database's schema differs from the declarations."""


class DependencyError(DelegatorError):
    """A server the engine depends on can't be reached or refuses it."""


class DatabaseError(DependencyError):
    """PostgreSQL can't be reached or refuses the connection."""


class StreamError(DependencyError):
    """The pull queue (Sequin or the relay) can't be reached or refuses the request."""


class GatewayError(DependencyError):
    """The gateway (`--via`) can't be reached or refuses the request."""


class TemporalError(DependencyError):
    """Temporal can't be reached or refuses the connection."""


class ResourceError(DependencyError):
    """A resource declared with `@resource` can't be opened or closed."""


class WireError(DelegatorError):
    """Bytes received from a peer do not follow the protocol."""


class UnreadablePayloadError(WireError):
    """A peer has encoded a payload with another payload codec, or with a key that this process does not have."""


def in_one_line(error: BaseException) -> str:
    """Return the type, the text and the place of an error of a user's code, on one line."""
    text = " ".join(str(error).split())
    frames = [] if isinstance(error, SyntaxError) else traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if not frame.filename.startswith("<frozen")]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, for messages of one line."""
    return str(error).strip().partition("\n")[0]
