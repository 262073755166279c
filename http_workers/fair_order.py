"""Decides from which lines of an ordered queue jobs are taken: by priority, then fairly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from typing import Final

from delegator.postgres.queue_order import Lane

_MOST_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class Room:
    """How many jobs of limited types may begin now."""

    by_type: dict[str, int] = field(default_factory=dict)
    """Most jobs of each limited type. A type that is not named has no limit."""
    by_key: dict[tuple[str, str], int] = field(default_factory=dict)
    """Most jobs of each limited type with the same fairness key."""

    def allows(self, lane: Lane) -> bool:
        """Return whether one more job of this line may begin."""
        return self.by_type.get(lane.job_type, 1) > 0 and self.by_key.get((lane.job_type, lane.fairness_key), 1) > 0

    def limit_type(self, job_type: str, most: int) -> None:
        """Allow at most so many more jobs of a type."""
        self.by_type[job_type] = min(most, self.by_type.get(job_type, most))

    def limit_key(self, job_type: str, fairness_key: str, most: int) -> None:
        """Allow at most so many more jobs of a type with a fairness key."""
        key = job_type, fairness_key
        self.by_key[key] = min(most, self.by_key.get(key, most))

    def take(self, lane: Lane) -> None:
        """Count one more job of this line."""
        if lane.job_type in self.by_type:
            self.by_type[lane.job_type] -= 1
        key = lane.job_type, lane.fairness_key
        if key in self.by_key:
            self.by_key[key] -= 1

    def give_back(self, lane: Lane, jobs: int) -> None:
        """Count fewer jobs of this line, because it had no more."""
        if lane.job_type in self.by_type:
            self.by_type[lane.job_type] += jobs
        key = lane.job_type, lane.fairness_key
        if key in self.by_key:
            self.by_key[key] += jobs


class FairOrder:
    """Shares jobs out among fairness keys by their weights, by start-time fair queueing.

    Each key of a priority has a virtual time. A job moves its key's time on by 1 / weight, and the key with the lowest
    time comes next. A key that had no waiting jobs begins at the time of the others, so it gets its turn at once and
    has saved up nothing. (Goyal, Vin, Cheng: "Start-time Fair Queuing", 1996)

    The times belong to one worker process. Each process shares out fairly what it takes, so all of them do together.
    """

    def __init__(self) -> None:
        """Begin with all keys equal."""
        self._times: dict[tuple[int, str], float] = {}
        self._now: dict[int, float] = defaultdict(float)

    def choose(self, lanes: Sequence[Lane], most: int, room: Room, *, evenly: bool = False) -> dict[Lane, int]:
        """Return how many jobs to take from which lines.

        It asks for jobs as if the lines never ended. If one did, ask again for the rest.

        Args:
            lanes: the lines in which jobs wait.
            most: number of jobs to take.
            room: what the fleet-wide limits allow. It is changed.
            evenly: by the weights alone, without regard to what the keys got before. So every line is asked for a job.
        """
        chosen: dict[Lane, int] = {}
        by_priority: dict[int, list[Lane]] = defaultdict(list)
        for lane in lanes:
            if room.allows(lane):
                by_priority[lane.priority].append(lane)
        for priority in sorted(by_priority):
            if most <= 0:
                break
            taken = self._share(priority, by_priority[priority], most, room, evenly=evenly)
            chosen |= taken
            most -= sum(taken.values())
        return chosen

    def took(self, lanes: Sequence[Lane], taken: Mapping[tuple[int, str], int]) -> None:
        """Move the times of fairness keys on.

        Args:
            lanes: the lines as they were given to `choose`, without those that a limit forbids: while these wait, the
                time of the others goes on.
            taken: the number of jobs taken, by priority and fairness key.
        """
        weights = {(lane.priority, lane.fairness_key): lane.weight for lane in lanes}
        for key, count in taken.items():
            self._times[key] = self._time(key) + count / weights.get(key, 1.0)
        for priority in {priority for priority, _ in taken}:
            waiting = [key for key in weights if key[0] == priority]
            if waiting:
                self._now[priority] = min(map(self._time, waiting))
        if len(self._times) > _MOST_REMEMBERED:
            self._times = {key: time for key, time in self._times.items() if time > self._now[key[0]]}

    def _time(self, key: tuple[int, str]) -> float:
        return max(self._times.get(key, 0.0), self._now[key[0]])

    def _share(self, priority: int, lanes: Sequence[Lane], most: int, room: Room, *, evenly: bool) -> dict[Lane, int]:
        """Return how many of `most` jobs to take from which lines of one priority."""
        if len(lanes) == 1 and not room.by_type and not room.by_key:
            return {lanes[0]: most}
        by_key: dict[str, list[Lane]] = defaultdict(list)
        for lane in sorted(lanes, key=lambda lane: lane.published_at):
            by_key[lane.fairness_key].append(lane)
        heap = [(0.0 if evenly else self._time((priority, key)), key) for key in by_key]
        heapify(heap)
        taken: dict[Lane, int] = defaultdict(int)
        while most and heap:
            time, key = heap[0]
            mine = by_key[key]
            while mine and not room.allows(mine[0]):
                del mine[0]
            if not mine:
                heappop(heap)
                continue
            lane = mine.pop(0)
            mine.append(lane)  # types of the same key take turns, the longest-waiting job first
            room.take(lane)
            taken[lane] += 1
            most -= 1
            heapreplace(heap, (time + 1 / lane.weight, key))
        return taken
