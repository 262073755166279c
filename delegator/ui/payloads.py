"""Payloads on the page: decoded by the codec server, so that no key is in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import DataConverter, PayloadCodec

from delegator.errors import UnreadablePayloadError
from delegator.maintenance.dead_letter_report import describe
from delegator.postgres import dead_letters
from delegator.postgres.connections import Connection
from delegator.postgres.dead_letters import DeadLetter
from delegator.postgres.job_views import JobRow, JobViews

_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)


class RemoteCodec(PayloadCodec):
    """Asks a codec server."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str | None) -> None:
        """Name the server.

        Args:
            session: for HTTP.
            url: its base URL.
            token: its token; None: it needs none.
        """
        self._session = session
        self._url = url.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encode payloads.

        Raises:
            UnreadablePayloadError: the server does not answer, or refuses.
        """
        return await self._ask("encode", payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decode payloads.

        Raises:
            UnreadablePayloadError: the server does not answer, or refuses.
        """
        return await self._ask("decode", payloads)

    async def _ask(self, what: str, payloads: Sequence[Payload]) -> list[Payload]:
        body = MessageToJson(Payloads(payloads=payloads), indent=None)
        headers = {"Content-Type": "application/json", **self._headers}
        try:
            async with self._session.post(
                f"{self._url}/{what}", data=body, headers=headers, timeout=_TIMEOUT
            ) as response:
                text = await response.text()
                if response.status != 200:
                    raise UnreadablePayloadError(f"the codec server refuses: status {response.status}")
                return list(Parse(text, Payloads()).payloads)
        except (aiohttp.ClientError, TimeoutError, ParseError, UnicodeDecodeError) as error:
            raise UnreadablePayloadError(f"the codec server does not answer: {type(error).__name__}") from None


class PayloadReader:
    """Reads what a job or a dead letter holds."""

    def __init__(self, codec: PayloadCodec) -> None:
        """Take a codec.

        Args:
            codec: decodes.
        """
        self._converter = dataclasses.replace(DataConverter.default, payload_codec=codec)

    async def of_job(self, connection: Connection, job: JobRow) -> dict[str, Any] | None:
        """Return the arguments, the headers and the last failure of a job; None: it is gone."""
        content = await JobViews(job.queue).content(connection, job.job_id)
        if content is None:
            return None
        letter = DeadLetter(
            id=0,
            queue=job.queue,
            type=job.job_type,
            reason="",
            error="",
            job_id=job.job_id,
            namespace=job.namespace,
            workflow_id=job.workflow_id,
            run_id=job.run_id,
            attempt=job.attempt,
            enqueued_at=job.enqueued_at,
            died_at=job.now,
            format_version=job.format_version,
        )
        held = dead_letters.Content(content.last_failure, content.input, content.header, content.options)
        return await describe(letter, held, self._converter, payloads=True)

    async def of_letter(self, connection: Connection, letter: DeadLetter) -> dict[str, Any] | None:
        """Return the arguments, the headers and the failure of a dead letter; None: it is gone."""
        content = await dead_letters.content(connection, letter.id)
        return None if content is None else await describe(letter, content, self._converter, payloads=True)
