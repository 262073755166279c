"""A TCP proxy that does to connections what networks do: cut them, slow them down, lose every packet."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import AsyncIterator
from typing import Self

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_CHUNK = 64 * 1024


class Proxy:
    """Forwards one loopback port to another. Every mode concerns the connections that exist and those to come.

    A lost packet is not acknowledged, unlike a byte that a proxy merely does not read: the sockets drop what arrives
    by a filter of the kernel's ("ret 0", socket(7) SO_ATTACH_FILTER), below TCP.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.target = 0
        self._server: asyncio.Server | None = None
        self._listener: socket.socket | None = None
        self._links: set[_Link] = set()
        self._delay = 0.0
        self._refusing = False
        self._losing = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def far_ports(self) -> set[int]:
        """Ports by which the target knows the connections."""
        return {port for link in self._links if (port := link.far_port)}

    async def open(self, target: int) -> Self:
        """Listen on a free port, for connections to the loopback port `target`."""
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, sock=self._listener)
        return self

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.abort()

    def cut(self) -> None:
        """Reset every connection, and each new one at once."""
        self._refusing = True
        self.reset()

    def reset(self) -> None:
        """Reset every connection; new ones work."""
        for link in list(self._links):
            link.abort()

    def slow(self, delay: float) -> None:
        """Deliver what is sent `delay` seconds later, in both directions."""
        self._delay = delay

    def lose(self) -> None:
        """Lose every packet: nothing is answered, nothing acknowledged, no connection made."""
        self._losing = True
        assert self._listener is not None
        _lose(self._listener)
        for link in self._links:
            link.lose()

    def heal(self, *, revive: bool = False) -> None:
        """Let new connections work.

        Args:
            revive: the connections whose packets were lost go on; otherwise they stay half-open: as if the peer's
                machine had vanished, nothing will ever be heard on them, not even a reset.
        """
        self._delay = 0.0
        self._refusing = False
        if self._losing:
            self._losing = False
            assert self._listener is not None
            _find(self._listener)
            for link in self._links:
                if revive:
                    link.find()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)
            return
        link = _Link(writer, far_writer)
        self._links.add(link)
        if self._losing:
            link.lose()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, far_writer))
                group.create_task(self._forward(far_reader, writer))
        except* OSError:
            pass
        finally:
            self._links.discard(link)
            link.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK):
            if self._delay:
                await asyncio.sleep(self._delay)
            writer.write(chunk)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()


class _Link:
    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._writers = (near, far)

    @property
    def far_port(self) -> int:
        name = self._writers[1].get_extra_info("sockname")
        return int(name[1]) if name else 0

    def abort(self) -> None:
        for writer in self._writers:
            _reset(writer)

    def lose(self) -> None:
        for writer in self._writers:
            _lose(writer.get_extra_info("socket"))

    def find(self) -> None:
        for writer in self._writers:
            _find(writer.get_extra_info("socket"))


def _reset(writer: asyncio.StreamWriter) -> None:
    if writer.transport.is_closing():
        return
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _lose(sock: socket.socket) -> None:
    instructions = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K, 0
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(instructions))
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _find(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


@contextlib.asynccontextmanager
async def proxied(proxy: Proxy, target: int) -> AsyncIterator[Proxy]:
    """Keep a proxy open for the length of a block."""
    try:
        yield await proxy.open(target)
    finally:
        await proxy.close()
