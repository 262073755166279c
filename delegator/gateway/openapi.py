"""The protocol as OpenAPI 3.1, made from the routes and the declared bodies."""

from __future__ import annotations

from collections import defaultdict
from importlib.metadata import version
from typing import Any, Final

import msgspec

from delegator.gateway import problems, routes
from delegator.gateway.problems import Code
from delegator.gateway.routes import Route
from delegator.wire.worker_protocol import Problem

_REFERENCE: Final = "#/components/schemas/{name}"
_BASE64: Final = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait before the request is repeated.", "schema": {"type": "integer"}}
}


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    bodies = [route.request for route in routes.ROUTES] + [route.reply for route in routes.ROUTES] + [Problem]
    unique = list(dict.fromkeys(bodies))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REFERENCE)
    _tell_base64(components)
    references = dict(zip(unique, schemas, strict=True))
    paths: dict[str, Any] = {route.path: {"post": _operation(route, references)} for route in routes.ROUTES}
    paths[routes.OPENAPI_PATH] = {
        "get": {
            "operationId": "openapi",
            "summary": "This document.",
            "security": [],
            "responses": {
                "200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}
            },
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "HTTP worker protocol of temporal-delegator",
            "version": version("temporal-delegator"),
            "description": "Jobs for workers in any language.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _tell_base64(schema: Any) -> None:
    """Add the pattern of Base64 where a text holds it: `contentEncoding` only annotates, and validates nothing."""
    if isinstance(schema, dict):
        if schema.get("contentEncoding") == "base64":
            schema["pattern"] = _BASE64
        for part in schema.values():
            _tell_base64(part)
    elif isinstance(schema, list):
        for part in schema:
            _tell_base64(part)


def _operation(route: Route, references: dict[type[msgspec.Struct], dict[str, Any]]) -> dict[str, Any]:
    by_status: dict[int, list[Code]] = defaultdict(list)
    for code in route.codes:
        by_status[code.status].append(code)
    responses: dict[str, Any] = {
        "200": {"description": "Done.", "content": {"application/json": {"schema": references[route.reply]}}}
    }
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = {
            "description": " ".join(f"`{code.name}`: {code.meaning}" for code in codes),
            "content": {problems.CONTENT_TYPE: {"schema": references[Problem]}},
            **({"headers": _RETRY_AFTER} if status in (429, 503) else {}),
        }
    return {
        "operationId": route.name,
        "summary": route.summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": references[route.request]}}},
        "responses": responses,
    }
