"""The operator's page of `delegator dev`."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from temporalio.converter import DataConverter

from delegator.cli.ui import USUAL_PORT, is_installed
from delegator.config import Settings
from delegator.dev import RunningStack
from delegator.dev.ports import reserve
from delegator.runtime.tokens import Tokens


@dataclass(frozen=True, slots=True)
class DevPage:
    """A page that runs."""

    url: str
    """Its address."""
    token: str
    """With which people log in."""


@asynccontextmanager
async def dev_page(stack: RunningStack) -> AsyncIterator[DevPage | None]:
    """Run the page of a stack, in this process: it has nothing else to do, and another one would take time to start.

    Args:
        stack: runs.

    Yields:
        The page; None: what it needs is not installed.
    """
    if not is_installed():
        yield None
        return
    from delegator.ui.options import UiOptions
    from delegator.ui.service import running_ui

    token = secrets.token_urlsafe(12)
    settings = _settings(stack)
    port = reserve(USUAL_PORT)
    try:
        options = UiOptions(
            tokens=Tokens([token]), converter=_converter(settings), codec_url=stack.codec_url, port=port.number
        )
        async with running_ui(options, settings) as url:
            yield DevPage(url, token)
    finally:
        port.release()


def _settings(stack: RunningStack) -> Settings:
    """Return the settings of the stack's own processes. Those of this shell may be for other servers."""
    given = Settings.load(database_url=stack.database_url, queues=stack.queues)
    defaults = {
        name: Settings.model_fields[name].default
        for name in ("direct_database_url", "schema_name", "publication", "slot", "ordered_queues", "data_converter")
    }
    keys = stack.environment.get("DELEGATOR_ENCRYPTION_KEYS_FILE")
    encryption = {"encryption_keys": None, "encryption_keys_file": None if keys is None else Path(keys)}
    return given.model_copy(update={**defaults, **encryption})


def _converter(settings: Settings) -> DataConverter:
    if settings.encryption_keys_file is None:
        return DataConverter.default
    from delegator.encryption import EncryptionKeys, encrypted

    return encrypted(keys=EncryptionKeys.load(settings))
