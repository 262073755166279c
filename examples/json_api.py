"""An HTTP API in front of workflows that takes JSON and answers JSON, also when something is wrong."""

from __future__ import annotations

import json
from typing import Final, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError
from temporalio.service import RPCError, RPCStatusCode

_MOST_BYTES: Final = 64 * 1024
Body = TypeVar("Body", bound=BaseModel)


def json_application() -> web.Application:
    """Return an application that answers errors in JSON.

    A workflow that Temporal does not know is 404. While Temporal or every worker is away the answer is 503.
    """
    return web.Application(middlewares=[_errors], client_max_size=_MOST_BYTES)


async def body_of(request: web.Request, model: type[Body]) -> Body:
    """Return the body.

    Raises:
        HTTPBadRequest: it is no JSON object.
        HTTPUnprocessableEntity: fields are wrong; all of them are listed.
        HTTPRequestEntityTooLarge: it has more than 64 KiB.
    """
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        wrong = {".".join(map(str, one["loc"])): one["msg"] for one in error.errors()}
    if "" in wrong:
        raise web.HTTPBadRequest(reason="the body must be a JSON object")
    raise refusal(wrong)


def refusal(errors: dict[str, str]) -> web.HTTPException:
    """Return the answer to a request with wrong fields: what is wrong, by field."""
    return web.HTTPUnprocessableEntity(text=json.dumps({"errors": errors}), content_type="application/json")


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.content_type == "application/json":
            raise
        return web.json_response({"error": error.reason}, status=error.status)
    except (RPCError, TimeoutError) as error:
        if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
            return web.json_response({"error": "it is not known"}, status=404)
        answer = {"error": "not available now"}
        return web.json_response(answer, status=503, headers={"Retry-After": "2"})
