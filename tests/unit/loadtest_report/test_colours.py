"""Who has which colour."""

from __future__ import annotations

import pytest

from loadtest.arms import ARMS
from loadtest.queues.bare import YARDSTICKS
from loadtest.queues.delegator_queue import DelegatorQueue
from loadtest.report.colours import DARK, DASHES, LIGHT, arm_colours, component_colours, ranked_colours

QUEUES = (DelegatorQueue.name, *YARDSTICKS, "pgqueuer", "procrastinate")
PROCESSES = (
    *("temporal", "temporal-postgres", "postgres", "relay", "serve", "load generator"),
    *("Temporal worker", "Temporal activity worker", "HTTP worker", "delegator serve"),
)
PROCESSES_OF_QUEUES = ("postgres", "relay", "worker", "load")


@pytest.mark.parametrize(
    ("assign", "names"),
    [
        (arm_colours, tuple(ARMS)),
        (arm_colours, QUEUES),
        (component_colours, PROCESSES),
        (component_colours, PROCESSES_OF_QUEUES),
    ],
)
def test_our_names_keep_their_colours(assign, names: tuple[str, ...]) -> None:
    """A name of ours has the same colour on every page, whatever else is there, and shares it with no other."""
    together = assign(["one of yours", *names])
    assert {name: assign(["another", name])[name] for name in names} == {name: together[name] for name in names}
    assert len({together[name] for name in names}) == len(names)


@pytest.mark.parametrize("assign", [arm_colours, component_colours, ranked_colours])
def test_every_name_has_a_colour(assign) -> None:
    """More names than colours share them."""
    many = assign(str(number) for number in range(50))
    assert len(many) == 50
    assert set(many.values()) <= set(LIGHT)


def test_variables_are_told_apart_by_their_values() -> None:
    """A chart is drawn in the light colours, which are then replaced by the variables that have them."""
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert set(DARK) | set(DASHES) <= set(LIGHT)
