"""The storage servers of `examples.uploads`, so slow that an upload can be broken off in its middle.

`python -m tests.integration.examples.slow_storage PROGRAM ARGUMENT...`; the program is moto.server or pyftpdlib.
"""

from __future__ import annotations

import runpy
import sys
import time
from typing import Any

_SECONDS_PER_PART = 0.15
_FTP_BYTES_PER_SECOND = 40_000_000


def slow_s3() -> None:
    from moto import server

    class Slow(server.DomainDispatcherApplication):
        def __call__(self, environ: Any, start_response: Any) -> Any:
            if "partNumber=" in environ.get("QUERY_STRING", ""):
                time.sleep(_SECONDS_PER_PART)
            return super().__call__(environ, start_response)

    server.DomainDispatcherApplication = Slow  # type: ignore[misc]
    server.main()


def slow_ftp() -> None:
    from pyftpdlib.handlers import FTPHandler, ThrottledDTPHandler

    ThrottledDTPHandler.read_limit = _FTP_BYTES_PER_SECOND
    FTPHandler.dtp_handler = ThrottledDTPHandler
    runpy.run_module("pyftpdlib", run_name="__main__")


if __name__ == "__main__":
    program = sys.argv.pop(1)
    slow_s3() if program == "moto.server" else slow_ftp()
