"""Makes sure that Temporal's namespace has the search attributes that workflows set."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from delegator.contracts.search_attributes import KINDS, create_command
from delegator.errors import ConfigurationError, TemporalError, first_line

_LIMIT: Final = timedelta(seconds=10)
_NOT_SAID: Final = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})


async def check_search_attributes(client: Client, *, are_set: bool = True) -> bool:
    """Make sure that the namespace has them. Temporal fails each workflow task that sets one that is not there.

    Args:
        client: of the namespace.
        are_set: whether workflows set them; if not, nothing is checked.

    Returns:
        False: nothing is known, because nothing was checked or the server does not let this client ask.

    Raises:
        ConfigurationError: one is missing, or is of another kind. The message ends with the command that creates it.
        TemporalError: the server does not answer.
    """
    if not are_set:
        return False
    request = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        reply = await client.operator_service.list_search_attributes(request, timeout=_LIMIT)
    except RPCError as error:
        if error.status in _NOT_SAID:
            return False
        where = client.service_client.config.target_host
        raise TemporalError(f"Temporal at {where} does not answer (TEMPORAL_ADDRESS): {first_line(error)}") from None
    found = {name: _kind(value) for name, value in reply.custom_attributes.items()}
    wrong = [f"{name} ({kind})" for name, kind in KINDS if found.get(name) != kind]
    if wrong:
        raise ConfigurationError(
            f"DELEGATOR_SEARCH_ATTRIBUTES is on, and namespace {client.namespace!r} lacks the search attributes "
            f"{', '.join(wrong)}: run `{create_command(client.namespace)}`"
        )
    return True


async def create_search_attributes(client: Client) -> None:
    """Create them in the client's namespace.

    Raises:
        RPCError: the server refuses, or one of them exists.
    """
    kinds = {name: IndexedValueType.Value(_enum_name(kind)) for name, kind in KINDS}
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=kinds)
    await client.operator_service.add_search_attributes(request, timeout=_LIMIT)


def _enum_name(kind: str) -> str:
    return "INDEXED_VALUE_TYPE_" + {"KeywordList": "KEYWORD_LIST", "Bool": "BOOL"}[kind]


def _kind(value: IndexedValueType.ValueType) -> str | None:
    return next((kind for _, kind in KINDS if _enum_name(kind) == IndexedValueType.Name(value)), None)
