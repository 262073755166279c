"""Runs `delegator` commands in this process, where starting them costs nothing."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple
from unittest import mock

from delegator.cli.main import build_app, run


class Ran(NamedTuple):
    """What a command did."""

    code: int | None
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def delegator(*arguments: object, **environment: str) -> Ran:
    """Run a command."""
    words = list(map(str, arguments))

    def run_here() -> int:
        with (
            mock.patch.object(sys, "argv", ["delegator", *words]),
            mock.patch.dict(os.environ, {"COLUMNS": "200", **environment}),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            return run(lambda: build_app(words[0]), "delegator")

    out, err = io.StringIO(), io.StringIO()
    code = await asyncio.to_thread(run_here)
    return Ran(code, out.getvalue(), err.getvalue())
