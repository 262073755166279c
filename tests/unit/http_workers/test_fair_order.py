"""The order in which jobs of an ordered queue are chosen, for any lines, weights and limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delegator.postgres.queue_order import CATCH_UP, Lane
from http_workers.fair_order import FairOrder, Room
from http_workers.fleet import starts_allowed

WEIGHTS = st.sampled_from([0.1, 0.5, 1.0, 2.0, 3.0, 10.0])
TENANTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), WEIGHTS, min_size=1, max_size=6)


def lane(key: str = "", weight: float = 1.0, *, priority: int = 3, job_type: str = "t", since: float = 0.0) -> Lane:
    return Lane(priority, f"{len(key)}:{key}{job_type}", job_type, key, weight, since)


def pick(order: FairOrder, lanes: Sequence[Lane], most: int, room: Room | None = None) -> Counter[tuple[int, str]]:
    """Choose jobs of lines that never end, and take them; how many of each priority and fairness key."""
    taken: Counter[tuple[int, str]] = Counter()
    for each, count in order.choose(lanes, most, room or Room()).items():
        taken[each.priority, each.fairness_key] += count
    order.took(lanes, taken)
    return taken


def unfairness(taken: Mapping[tuple[int, str], int], weights: Mapping[str, float]) -> float:
    """How far the best and the worst served key are apart, in units of what one job may make them differ."""
    served = {key: taken.get((3, key), 0) / weight for key, weight in weights.items()}
    return max(
        abs(served[a] - served[b]) / (1 / weights[a] + 1 / weights[b]) for a in served for b in served if (a != b)
    )


@given(TENANTS.filter(lambda tenants: len(tenants) > 1), st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_shares(weights: dict[str, float], batches: list[int]) -> None:
    """Keys that always have jobs are served by their weights, to within one job each, whatever the sizes of batches."""
    order = FairOrder()
    lanes = [lane(key, weight) for key, weight in weights.items()]
    taken: Counter[tuple[int, str]] = Counter()
    for most in batches:
        chosen = pick(order, lanes, most)
        assert sum(chosen.values()) == most
        taken += chosen
        assert unfairness(taken, weights) <= 1 + 1e-9


def test_newcomer_beside_a_limit() -> None:
    """The time goes on while a key waits for a limit. So a key that comes late has saved up nothing."""
    order = FairOrder()
    pick(order, [lane("limited"), lane("old")], 2)
    for _ in range(1000):
        pick(order, [lane("old")], 10)
    assert pick(order, [lane("old"), lane("new")], 10) == {(3, "old"): 5, (3, "new"): 5}
    assert pick(order, [lane("limited"), lane("old")], 10) == {(3, "limited"): 5, (3, "old"): 5}


@given(TENANTS.filter(lambda tenants: len(tenants) > 1), st.integers(0, 500))
def test_evenly(weights: dict[str, float], before: int) -> None:
    """Whatever the keys got before, each is asked for a job, in proportion to the weights."""
    order = FairOrder()
    lanes = [lane(key, weight) for key, weight in weights.items()]
    pick(order, lanes[:1], before)
    asked = order.choose(lanes, 5 * round(sum(weights.values()) / min(weights.values()) + 1), Room(), evenly=True)
    assert set(asked) == set(lanes)


@given(TENANTS, st.integers(1, 500), st.integers(1, 20))
def test_newcomer(weights: dict[str, float], before: int, most: int) -> None:
    """A key that comes late has saved up nothing, and gets its turn at once."""
    order = FairOrder()
    old = [lane(key, weight) for key, weight in weights.items()]
    pick(order, old, before)
    lanes = [*old, lane("new")]
    taken: Counter[tuple[int, str]] = Counter()
    for _ in range(50):
        taken += pick(order, lanes, most)
    picked = sum(taken.values())
    share = picked / (1 + sum(weights.values()))
    assert taken[3, "new"] <= share + len(weights) + 1
    assert taken[3, "new"] >= share - len(weights) - 1


def test_newcomer_is_next() -> None:
    """Among equal keys, the job of a key that comes late is among the next of every key."""
    order = FairOrder()
    old = [lane("a"), lane("b")]
    pick(order, old, 1000)
    assert pick(order, [*old, lane("new")], 3) == {(3, "a"): 1, (3, "b"): 1, (3, "new"): 1}


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["", "a", "b"])), min_size=1, max_size=10, unique=True))
def test_priority_first(places: list[tuple[int, str]]) -> None:
    """Jobs of one priority are chosen only when no job of a lower number may run."""
    lanes = [lane(key, priority=priority) for priority, key in places]
    assert {priority for priority, _ in pick(FairOrder(), lanes, 50)} == {min(priority for priority, _ in places)}


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from("abc"), st.sampled_from("xyz")),
        min_size=1,
        max_size=12,
        unique=True,
    ),
    st.dictionaries(st.sampled_from("xyz"), st.integers(-2, 5), max_size=3),
    st.dictionaries(st.tuples(st.sampled_from("xyz"), st.sampled_from("abc")), st.integers(-2, 5), max_size=5),
    st.integers(0, 40),
)
def test_room(
    places: list[tuple[int, str, str]], by_type: dict[str, int], by_key: dict[tuple[str, str], int], most: int
) -> None:
    """No limit is exceeded, and nothing is left out that may run."""
    lanes = [lane(key, priority=priority, job_type=job_type) for priority, key, job_type in places]
    room = Room(dict(by_type), dict(by_key))
    chosen = FairOrder().choose(lanes, most, room)
    types: Counter[str] = Counter()
    keys: Counter[tuple[str, str]] = Counter()
    for each, count in chosen.items():
        assert count > 0
        types[each.job_type] += count
        keys[each.job_type, each.fairness_key] += count
    assert all(types[name] <= max(0, limit) for name, limit in by_type.items())
    assert all(keys[key] <= max(0, limit) for key, limit in by_key.items())
    total = sum(chosen.values())
    assert total <= most
    if total < most:
        left = Room(
            {name: limit - types[name] for name, limit in by_type.items()},
            {key: limit - keys[key] for key, limit in by_key.items()},
        )
        assert not any(map(left.allows, lanes))
    for each, count in chosen.items():
        room.give_back(each, count)
    assert room == Room(by_type, by_key)


def test_types_of_one_key() -> None:
    """The types of one key take turns, the longest-waiting job first; they share the key's turns."""
    order = FairOrder()
    lanes = [lane("a", job_type="late", since=2.0), lane("a", job_type="early", since=1.0), lane("b")]
    assert [each.name for each in order.choose(lanes, 1, Room())] == ["1:aearly"]
    assert pick(order, lanes, 40) == {(3, "a"): 20, (3, "b"): 20}


def test_old_times_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that come and go do not fill the memory."""
    monkeypatch.setattr("http_workers.fair_order._MOST_REMEMBERED", 10)
    order = FairOrder()
    for number in range(1000):
        pick(order, [lane(str(number)), lane("stays")], 2)
    assert len(order._times) < 20


@given(st.floats(0.5, 500), st.lists(st.tuples(st.floats(0, 2), st.integers(1, 100)), min_size=1, max_size=50))
def test_rate(rate: float, looks: list[tuple[float, int]]) -> None:
    """However late workers look, no more jobs start in a time than the rate allows, but for what it may catch up."""
    interval, catch_up = 1 / rate, CATCH_UP.total_seconds()
    now, started = 0.0, 0
    next_start: float | None = None
    for pause, wanted in looks:
        now += pause
        starts, wait = starts_allowed(None if next_start is None else next_start - now, interval)
        assert wait > 0
        begin = min(starts, wanted)
        if begin:
            next_start = max(now - catch_up, now - catch_up if next_start is None else next_start) + begin * interval
        started += begin
        assert started <= rate * (now + catch_up) + 1 + 1e-6
