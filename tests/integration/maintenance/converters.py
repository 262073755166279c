"""A data converter with a codec, for `DELEGATOR_DATA_CONVERTER`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, PayloadCodec


class Scramble(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(metadata={"encoding": b"x"}, data=bytes(b ^ 0x5A for b in payload.SerializeToString()))
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(bytes(b ^ 0x5A for b in payload.data)) for payload in payloads]


scrambled = dataclasses.replace(DataConverter.default, payload_codec=Scramble())
