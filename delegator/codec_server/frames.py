"""Makes the engine's own payloads readable: those in which outcomes of jobs travel to their workflow."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from delegator.wire.readable import readable, restored


class FrameCodec(PayloadCodec):
    """Decodes with another codec, and renders the engine's frames as JSON. `encode` undoes both."""

    def __init__(self, codec: PayloadCodec | None) -> None:
        """Prepare the codec.

        Args:
            codec: that of the data converter; None: it has none.
        """
        self._codec = codec

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return payloads as the data converter's codec encodes them."""
        originals = [restored(payload) for payload in payloads]
        return originals if self._codec is None else await self._codec.encode(originals)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return payloads as people read them."""
        decoded = payloads if self._codec is None else await self._codec.decode(payloads)
        return [readable(payload) for payload in decoded]
