"""A probe of the payload codec: a known payload that the client has encoded, in every row of its jobs.

A process that can't decode the probe has another codec, or another key. It finds out before it runs a handler, or
delivers an outcome that nobody could read.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Final

import orjson
from delegator_schema.options import CODEC_PROBE
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

_PROBE: Final = Payload(metadata={"encoding": b"json/plain"}, data=b'"temporal-delegator"')
_KEY: Final = f'"{CODEC_PROBE}"'
_MOST_KNOWN: Final = 1_000


async def make_probe(codec: PayloadCodec | None) -> str | None:
    """Return the value of the option `CODEC_PROBE`; None: there is no codec, or it encodes nothing without a context.

    Args:
        codec: the client's payload codec.
    """
    if codec is None:
        return None
    try:
        (payload,) = await codec.encode([_PROBE])
    except Exception:  # a codec may raise any error; jobs go without a probe
        return None
    return None if payload == _PROBE else b64encode(payload.SerializeToString()).decode()


class ProbeReader:
    """Checks the probes of rows with the payload codec of this process."""

    def __init__(self, codec: PayloadCodec | None) -> None:
        """Prepare.

        Args:
            codec: this process's payload codec.
        """
        self._codec = codec
        self._known: set[str] = set()

    @staticmethod
    def applies(options: str | None) -> bool:
        """Return whether a row has a probe.

        Args:
            options: the text of the row's `options`.
        """
        return options is not None and _KEY in options

    async def problem(self, options: str | None) -> str | None:
        """Return why this process can't decode what the client of a job encodes; None: it can, or there is no probe.

        Args:
            options: the text of the row's `options`.
        """
        if options is None or not self.applies(options):
            return None
        probe = orjson.loads(options).get(CODEC_PROBE)
        if probe in self._known:
            return None
        if self._codec is None:
            return (
                "the job's client has a payload codec, and this process has none: "
                "DELEGATOR_DATA_CONVERTER must name the client's data converter"
            )
        try:
            (payload,) = await self._codec.decode([Payload.FromString(b64decode(probe))])
            if payload != _PROBE:
                raise ValueError("another payload")
        except Exception as error:  # a codec may raise any error
            return (
                "the payload codec of this process can't decode what the job's client has encoded "
                f"({type(error).__name__}): DELEGATOR_DATA_CONVERTER must name the client's data converter, "
                "with the same keys"
            )
        if len(self._known) < _MOST_KNOWN:
            self._known.add(probe)
        return None
