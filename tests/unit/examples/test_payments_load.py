"""The load scenarios' own judgement: it must find what is wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from examples.open_loop import Measured, Seen, moments, no_slope
from examples.payments.books import Books
from examples.payments.load.scenarios import SCENARIOS, comes_back, highest_step, is_steady


def state(payment: str, status: str) -> dict[str, Any]:
    return {
        "status": status,
        "notified": True,
        "payment": {"payment_id": payment, "user_id": "ann", "amount": 10, "currency": "EUR", "method": "card"},
    }


STATES = {"a": state("a", "success"), "b": state("b", "fail")}


def books(**changes: Any) -> Books:
    sound: dict[str, Any] = {
        "balances": {"ann": 90},
        "entries": {"a": {"debit": -10}, "b": {"debit": -10, "credit": 10}},
        "charges": {"a": ("captured", 10), "b": ("voided", 10)},
        "mails": Counter({("a", "success"): 1, ("b", "fail"): 1}),
        "copies": Counter("ab"),
    }
    return Books(**{**sound, **changes})


def test_sound() -> None:
    assert books().problems(STATES, 100) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"balances": {"ann": 89}},
        {"entries": {"b": {"debit": -10, "credit": 10}}},
        {"entries": {"a": {"debit": -10, "credit": 10}, "b": {}}},
        {"entries": {"a": {"debit": -10}, "b": {"debit": -10}}},
        {"charges": {"a": ("captured", 10), "b": ("captured", 10)}},
        {"charges": {"a": ("captured", 10), "c": ("voided", 0)}},
        {"charges": {"a": ("voided", 10)}},
        {"mails": Counter({("a", "success"): 1})},
        {"mails": Counter({("a", "success"): 1, ("b", "fail"): 1, ("b", "success"): 1})},
    ],
    ids=["cent", "debit", "undone", "kept", "live", "unknown", "uncaptured", "untold", "contradiction"],
)
def test_unsound(changes: dict[str, Any]) -> None:
    """Each error in a book is found."""
    assert books(**changes).problems(STATES, 100)


def test_not_final() -> None:
    assert books().problems({**STATES, "a": state("a", "processing")}, 100)


def measured(*payments: tuple[float, float]) -> Measured:
    """Payments by intended moment and seconds."""
    seen = [
        Seen(str(number), begin, begin, begin, begin + seconds, 0) for number, (begin, seconds) in enumerate(payments)
    ]
    return Measured(seen, {one.key: {"status": "success"} for one in seen})


def test_moments() -> None:
    """Equal distances in each step; Poisson arrivals are about as many."""
    assert list(moments(((2, 1), (4, 1)), poisson=False)) == [0, 0.5, 1, 1.25, 1.5, 1.75]
    assert 800 < len(list(moments(((100, 10),), poisson=True))) < 1_200


def test_growing_latency() -> None:
    """A run whose last third is slower than its first does not pass."""
    flat, growing = [(second, 1.0) for second in range(30)], [(second, 1.0 + second / 10) for second in range(30)]
    assert all(check.holds for check in is_steady(measured(*flat), ()))
    assert not all(check.holds for check in is_steady(measured(*growing), ()))


def test_highest_step() -> None:
    """The ramp reports the last step before the first one that is too slow."""
    found = measured(*[(second, 0.5) for second in range(10)], *[(second, 5.0) for second in range(10, 20)])
    (check,) = highest_step(found, ((5, 10), (20, 10)))
    assert check.holds and "up to 5/s" in check.what


def test_no_return() -> None:
    """After a peak the latency must come back."""
    slow = [(second, 9.0) for second in range(10, 30)]
    (check,) = comes_back(measured(*[(second, 0.5) for second in range(10)], *slow), ((1, 10), (1, 2), (1, 18)))
    assert not check.holds


def test_slope() -> None:
    """What grows from the second third to the last one is found; what warms up is not."""
    assert no_slope([{"rows": value} for value in (0, 50, 100, 100, 100, 100, 100, 100, 100)], "rows", 0).holds
    assert not no_slope([{"rows": value} for value in range(0, 900, 100)], "rows", 0).holds


def test_scenarios() -> None:
    """The ten scenarios of the specification."""
    basic = {"smoke", "steady", "ramp", "spike"}
    assert set(SCENARIOS) == basic | {"outage", "slow", "callbacks", "hot", "crash", "soak"}
