"""Every stored history replays; the history of a workflow that was changed since does not."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from delegator import PluginOptions, Settings
from delegator.codec_server.frames import FrameCodec
from delegator.errors import WireError
from delegator.runtime.temporal_client import load_data_converter
from delegator.wire import frames
from delegator.wire.outcomes import Reply, unpack_reply
from delegator.workflow import delegations
from delegator.workflow import replay as replay_module
from tests.formats import changed_flows, flows
from tests.formats.folders import CURRENT_FRAMES, folder, stored
from tests.formats.histories import CONVERTERS, HISTORIES, plugin

HISTORY_FILES = [pytest.param(path, id=f"{path.parent.parent.name}-{path.stem}") for path in stored("histories")]


def read(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, json.loads(path.read_text()))


def converter_of(path: Path) -> DataConverter:
    return load_data_converter(CONVERTERS[HISTORIES[path.stem].converter])


async def replay(path: Path, workflows: list[Any]) -> None:
    await replay_history(read(path), workflows, converter_of(path))


async def replay_history(history: WorkflowHistory, workflows: list[Any], converter: DataConverter) -> None:
    await Replayer(
        workflows=workflows, plugins=[plugin(Settings(), PluginOptions())], data_converter=converter
    ).replay_workflow(history)


def payloads_in(message: Any) -> Iterator[Payload]:
    if isinstance(message, Payload):
        yield message
        return
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        if isinstance(value, Mapping):
            found = list(value.values())
        else:
            found = [value] if isinstance(value, Message) else list(value)
        for one in found:
            if isinstance(one, Message):
                yield from payloads_in(one)


@pytest.mark.parametrize("path", HISTORY_FILES)
async def test_stored_history_replays(path: Path):
    await replay(path, flows.ALL)


@pytest.mark.parametrize("path", HISTORY_FILES)
async def test_changed_workflow_is_found_out(path: Path, caplog: pytest.LogCaptureFixture):
    # The SDK's replayer wraps what the workflow raised, encoded if failures are.
    with pytest.raises(NondeterminismError, match="the recorded reply is for"):
        await replay(path, changed_flows.ALL)
    assert re.search(r"the recorded reply is for \d x \w+, and the workflow asks for \d x \w+", caplog.text)


@pytest.mark.parametrize("path", HISTORY_FILES)
async def test_readable_history_replays(path: Path):
    """A codec server leaves no binary payload in a history. The history still replays, and encoding undoes it."""
    history, converter = read(path), converter_of(path)
    codec = FrameCodec(converter.payload_codec)
    for payload in (payload for event in history.events for payload in payloads_in(event)):
        (decoded,) = [payload] if converter.payload_codec is None else await converter.payload_codec.decode([payload])
        (readable,) = await codec.decode([payload])
        assert readable.metadata["encoding"] != b"binary/plain" and readable.data.decode().isprintable()
        assert await FrameCodec(None).encode([readable]) == [decoded]
        payload.CopyFrom(readable)
    await replay_history(history, flows.ALL, dataclasses.replace(converter, payload_codec=None))


@pytest.mark.parametrize("name", ["delegate-inline", "map-inline"])
async def test_wrongly_read_outcome_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch):
    """A workflow that gets another result than the recorded one fails its replay."""

    def unpack_wrongly(frame: bytes) -> Reply:
        reply = unpack_reply(frame)
        wrong = Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b"7")]).SerializeToString()
        return reply._replace(outcomes=[outcome and outcome._replace(body=wrong) for outcome in reply.outcomes])

    monkeypatch.setattr(replay_module, "unpack_reply", unpack_wrongly)
    with pytest.raises(NondeterminismError):
        await replay(folder(CURRENT_FRAMES, "histories") / f"{name}.json", flows.ALL)


@pytest.mark.parametrize("name", ["delegate-inline", "delegate-signal"])
async def test_later_frame(name: str, monkeypatch: pytest.MonkeyPatch):
    """A history of a later format fails the workflow task of an older worker with an error; it does not hang."""
    monkeypatch.setattr(frames, "VERSION", CURRENT_FRAMES - 1)
    with pytest.raises(RuntimeError, match=f"version {CURRENT_FRAMES}: this release reads up to {CURRENT_FRAMES - 1}"):
        await replay(folder(CURRENT_FRAMES, "histories") / f"{name}.json", flows.ALL)


async def test_later_signal(monkeypatch: pytest.MonkeyPatch):
    """A signal of a later format fails the workflow task of an older worker with an error; it does not hang."""

    def refuse(frame: bytes) -> None:
        raise WireError("a later signal")

    monkeypatch.setattr(delegations, "unpack_signal", refuse)
    with pytest.raises(RuntimeError, match="a later signal"):
        await replay(folder(CURRENT_FRAMES, "histories") / "delegate-signal.json", flows.ALL)
