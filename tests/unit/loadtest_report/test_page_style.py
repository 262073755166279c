from __future__ import annotations

import pytest

from loadtest.arms import ARMS
from loadtest.bulk.bare import YARDSTICKS
from loadtest.bulk.delegator_queue import DelegatorQueue
from loadtest.report.page_style import arm_classes, component_classes, ranked_classes, stylesheet

QUEUES = (DelegatorQueue.name, *YARDSTICKS, "pgqueuer", "procrastinate")
PROCESSES = (
    *("temporal", "temporal-postgres", "postgres", "relay", "serve", "load generator"),
    *("Temporal worker", "Temporal activity worker", "HTTP worker", "delegator serve"),
)
PROCESSES_OF_QUEUES = ("postgres", "relay", "worker", "load")


@pytest.mark.parametrize("names", [tuple(ARMS), QUEUES])
def test_an_arm_of_ours_has_the_same_colour_on_every_page(names: tuple[str, ...]) -> None:
    together = arm_classes(["one of yours", *names])
    assert {name: arm_classes(["another", name])[name] for name in names} == {name: together[name] for name in names}
    assert len({together[name] for name in names}) == len(names)


@pytest.mark.parametrize("names", [PROCESSES, PROCESSES_OF_QUEUES])
def test_a_process_of_ours_has_the_same_colour_on_every_page(names: tuple[str, ...]) -> None:
    together = component_classes(["one of yours", *names])
    assert {name: component_classes(["another", name])[name] for name in names} == {
        name: together[name] for name in names
    }
    assert len({together[name] for name in names}) == len(names)


def test_every_class_has_its_colour() -> None:
    sheet = stylesheet("plot.css")
    many = [str(number) for number in range(50)]
    for kind in {*arm_classes(many).values(), *component_classes(many).values(), *ranked_classes(many).values()}:
        assert f".bar.{kind} {{ fill: var(--{kind}); }}" in sheet
        assert f"--{kind}: #" in sheet
    for kind in arm_classes(many).values():
        assert f".line.{kind} {{ stroke: var(--{kind});" in sheet
