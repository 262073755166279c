import contextlib
import socket

from delegator.dev.ports import LOOPBACK, reserve


def test_preferred_port() -> None:
    """The preferred port is reserved if it is free, and for one holder at a time."""
    free = reserve()
    free.release()
    first = reserve(free.number)
    second = reserve(free.number)
    assert first.number == free.number
    assert second.number != free.number
    first.release()
    third = reserve(free.number)
    assert third.number == free.number
    for port in (second, third):
        port.release()


def test_taken_port() -> None:
    """A port on which another program listens is not reserved."""
    with contextlib.closing(socket.create_server((LOOPBACK, 0))) as server:
        taken = server.getsockname()[1]
        port = reserve(taken)
        assert port.number != taken
        port.release()


def test_many_reservations_differ() -> None:
    ports = [reserve() for _ in range(50)]
    assert len({port.number for port in ports}) == 50
    for port in ports:
        port.release()
