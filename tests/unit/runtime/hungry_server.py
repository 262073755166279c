"""A process that serves its health, and then opens every descriptor that it may: `hungry_server.py LIMIT LOOP`.

It writes its port. After a line on stdin it eats the descriptors up and writes `none left`; after another it gives them
back and writes `free`.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys

from prometheus_client import CollectorRegistry

from delegator.runtime.health import HealthServer, LocalHealth
from delegator.runtime.liveness import Liveness
from delegator.runtime.logs import LogFormat, configure_logging


def eat() -> list[int]:
    """Open descriptors until there are none."""
    eaten = []
    while True:
        try:
            eaten.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return eaten


async def main() -> None:
    configure_logging(LogFormat.JSON)
    with HealthServer(LocalHealth(CollectorRegistry(), Liveness(), {})) as server:
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        eaten = eat()
        print("none left", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for one in eaten:
            os.close(one)
        print("free", flush=True)
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
    asyncio.run(main())
