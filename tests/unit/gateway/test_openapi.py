"""The OpenAPI document, the routes and the page of the protocol say the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from delegator.gateway import problems, routes
from delegator.gateway.access import ScopedTokens
from delegator.gateway.http import GatewayApi
from delegator.gateway.metrics import GatewayMetrics
from delegator.gateway.openapi import document
from delegator.runtime.health import LocalHealth
from delegator.runtime.liveness import Liveness
from tests.support.pages import ROOT

PAGE = (ROOT / "docs/reference/http-protocol.md").read_text(encoding="utf-8")
_OF_EVERY_PROCESS = {"/metrics", "/livez", "/readyz"}


class NoGate:
    """A gateway without queues."""

    queues: Mapping[str, Any] = MappingProxyType({})
    draining = False

    def refuse_poll(self) -> bool:
        return False

    def refuse_end(self) -> bool:
        return False


def test_routes_both_ways() -> None:
    """The server has the routes of the document, and no others."""
    registry = CollectorRegistry()
    health = LocalHealth(registry, Liveness(), {})
    api = GatewayApi(NoGate(), ScopedTokens(None), health, GatewayMetrics(registry), max_body_bytes=1)
    served = {
        (str(route.resource.canonical), route.method.lower())
        for route in api.application().router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    documented = {(path, method) for path, item in document()["paths"].items() for method in item}
    assert {(path, method) for path, method in served if path not in _OF_EVERY_PROCESS} == documented


def test_errors_both_ways() -> None:
    """The page has a line for each code of an error, and no other."""
    section = PAGE[PAGE.index("## Errors") : PAGE.index("A worker repeats a request")]
    on_page = {(int(status), code) for status, code in re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", section, re.M)}
    assert on_page == {(code.status, code.name) for code in problems.CODES}


@pytest.mark.parametrize("route", routes.ROUTES, ids=lambda route: route.name)
def test_fields_both_ways(route: routes.Route) -> None:
    """The page has each field of a request, and no other."""
    schemas = document()["components"]["schemas"]
    fields = set(schemas[route.request.__name__]["properties"])
    if fields == {"jobs"}:
        entry = schemas[route.request.__name__]["properties"]["jobs"]["items"]["$ref"].rsplit("/", 1)[-1]
        fields = set(schemas[entry]["properties"])
    start = PAGE.index(f"## `POST /v1/{route.name}`")
    section = PAGE[start : PAGE.index("\n## ", start + 1)]
    asked = re.split(r"^\| `status`|^The reply has the status", section, maxsplit=1, flags=re.M)[0]
    shown = set(re.findall(r"^\| `([a-z_]+)` \|", asked, re.M))
    assert shown <= fields
    assert {field for field in fields if f"`{field}`" in section} == fields


def test_no_field_without_bounds() -> None:
    """Lists and numbers that a worker sends have bounds."""
    unbounded = [
        (name, field)
        for name, schema in document()["components"]["schemas"].items()
        if name in {route.request.__name__ for route in routes.ROUTES}
        for field, shape in schema["properties"].items()
        if shape.get("type") == "array" and "maxItems" not in shape
    ]
    assert unbounded == []
