"""Runs a module in a process whose wall clock is wrong: `-m tests.chaos.skewed SECONDS MODULE [ARGUMENT ...]`."""

from __future__ import annotations

import datetime as datetime_module
import runpy
import sys
import time
from datetime import timedelta, tzinfo
from typing import Self

_skew = float(sys.argv[1])
_time, _time_ns, _datetime = time.time, time.time_ns, datetime_module.datetime


class _SkewedDatetime(_datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(seconds=_skew)


if __name__ == "__main__":
    time.time = lambda: _time() + _skew
    time.time_ns = lambda: _time_ns() + int(_skew * 1e9)
    datetime_module.datetime = _SkewedDatetime  # type: ignore[misc]
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
