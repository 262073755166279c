from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from loadtest.comparison import Comparison
from loadtest.costs.model import Costs, ProcessCost
from loadtest.report.page import page
from loadtest.report.page_model import comparisons, read
from loadtest.report.page_plot import plot
from loadtest.report.page_sections import command
from loadtest.report.page_table import table
from tests.unit.loadtest_report.results import bulk, comparison, old, run

EVIL = "<script>alert('x')</script>\"&'<!-- ]]> \N{SNOWMAN}"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a browser would make of it: every tag is closed, and these are the elements and texts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_every_arm_is_in_every_plot_and_in_the_table() -> None:
    arms = ["classic", "floor", "delegated", "drop-in", "one of yours"]
    found = comparison(*arms)
    shown = Page(page([found]))
    headers = [text for text in shown.texts if text in arms]
    assert all(headers.count(arm) >= 4 for arm in arms)
    titles = {"Latency distribution", "Throughput over time", "Processor time per job", "Peak memory"}
    titles |= {"Temporal's persistence operations per job", "Write-ahead log per job", "Commits per job"}
    titles |= {"NewDeadLetter tuples per job"}
    assert titles <= set(shown.texts)
    drawings = [ElementTree.fromstring(text) for text in re.findall(r"<svg viewBox.*?</svg>", page([found]))]
    assert len(drawings) == len(titles)
    for drawing in drawings:
        bold = [node.get("class", "").split() for node in drawing.iter("polyline")]
        bars = [node.get("y") for node in drawing.iter("rect")]
        lines = {kinds[1] for kinds in bold if "thin" not in kinds}
        assert len(lines or set(bars)) == len(arms)


def test_needs_nothing_from_elsewhere() -> None:
    text = page([comparison("classic", "delegated")], data="page.data.json")
    for tag, attributes in Page(text).tags:
        assert tag not in ("script", "link", "img", "iframe", "object")
        assert all(
            value in (None, "page.data.json") or value.startswith("#")
            for key, value in attributes.items()
            if key in ("href", "src")
        )
    assert "url(" not in text
    assert "@import" not in text


def test_drawings_say_what_they_show_to_those_who_can_not_see_them() -> None:
    text = page([comparison("classic", "delegated"), comparison("classic", jobs=5, scenario="sequence")])
    drawings = [attributes for tag, attributes in Page(text).tags if tag == "svg" and "role" in attributes]
    assert len(drawings) == 16
    ids = [attributes["id"] for _, attributes in Page(text).tags if attributes.get("id")]
    assert len(set(ids)) == len(ids)
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert set((attributes["aria-labelledby"] or "").split()) <= set(ids)
    assert "classic: p50" in text
    assert "delegated: p50" in text


def test_medians_with_spread_and_ratios() -> None:
    shown = Page(page([comparison("classic", "delegated")])).text
    assert "41.0 40.0\N{EN DASH}42.0" in shown  # workflows/s of classic
    assert "51.0 \N{MULTIPLICATION SIGN}1.24 50.0\N{EN DASH}52.0" in shown  # of delegated
    assert "1.17 KiB" in shown  # 120,000 bytes of WAL for 100 jobs


def test_a_ratio_is_the_median_of_the_rounds_own_everywhere() -> None:
    """The machine halved its speed twice: both medians are 40, and in each round but one an arm was half as fast."""
    speeds = {"classic": (90, 20, 40), "delegated": (45, 40, 20)}
    runs = {arm: [run(arm, speed=speed) for speed in of_arm] for arm, of_arm in speeds.items()}
    drifted = Comparison("single", 3, runs)
    half, no = "\N{MULTIPLICATION SIGN}0.50", "\N{MULTIPLICATION SIGN}1.00"
    assert f"40.0 {half} 20.0\N{EN DASH}45.0" in Page(page([drifted])).text
    workflows_per_s, latency, operations = re.findall("\N{MULTIPLICATION SIGN}[0-9.]+", plot([drifted]))
    assert (workflows_per_s, latency, operations) == (half, "\N{MULTIPLICATION SIGN}2.00", no)


def test_how_to_repeat_it() -> None:
    found = comparison("classic", "delegated")
    words = "--arms classic,delegated --scenario single --rounds 3 --workflows 100 --jobs 1 --concurrency 10"
    assert command(found) == f"python -m loadtest compare {words} --payload-bytes 64"
    single = Comparison("steady", 1, {"classic": [run(settings={"rate": 20.0, "duration": 30.0, "jobs": 1})]})
    assert command(single) == "python -m loadtest run --arm classic --scenario steady --rate 20 --duration 30 --jobs 1"
    told = Comparison("steady", 1, {"classic": [run(settings={"rate": 20.0, "http_concurrency": 1_000})]})
    assert command(told) == "python -m loadtest run --arm classic --scenario steady --rate 20"
    (queues,) = comparisons([bulk()])
    words = "--queues pgqueuer --scenarios bulk --jobs 5000 --payload-bytes 100 --rounds 1"
    assert command(queues) == f"python -m loadtest peers {words}"
    shown = Page(page([found])).text
    assert command(found) in shown
    assert "postgres 18.1" in shown


@pytest.mark.parametrize(
    ("missing", "title"),
    [
        ({"costs": None}, "Processor time per job"),
        ({"latency_quantiles_ms": [], "latency_ms": None}, "Latency distribution"),
        ({"series": []}, "Throughput over time"),
        ({"versions": {}}, "Versions and machine"),
        ({"settings": {}}, "Settings"),
    ],
)
def test_what_was_not_measured_is_not_shown(missing: dict[str, Any], title: str) -> None:
    assert title in Page(page([comparison("classic", "delegated")])).texts
    assert title not in Page(page([comparison("classic", "delegated", **missing)])).texts


def test_files_of_before_show_what_they_have() -> None:
    shown = Page(page(comparisons([old(comparison("classic", "delegated").to_json())])))
    assert {"Latency distribution", "Throughput", "classic", "delegated"} <= set(shown.texts)
    assert "Processor time per job" not in shown.texts


def test_queues_without_workflows() -> None:
    shown = Page(page(comparisons([bulk()]))).text
    assert "5,000 jobs" in shown
    assert "workflows/s" not in shown
    assert "4,000 \N{MULTIPLICATION SIGN}0.80" in shown
    assert "relay's peak memory 100 MiB" in shown


def test_single_runs_of_one_load_stand_side_by_side() -> None:
    results = [run("classic"), run("delegated"), run("classic", speed=44), run("classic", scenario="burst")]
    found = comparisons([result.to_json() for result in results])
    assert [(one.scenario, one.rounds, {arm: len(runs) for arm, runs in one.runs.items()}) for one in found] == [
        ("single", 2, {"classic": 2, "delegated": 1}),
        ("burst", 1, {"classic": 1}),
    ]


def test_unequal_numbers_of_runs_of_one_load() -> None:
    results = [run("classic", speed=40), run("delegated", speed=63), run("classic", speed=44)]
    found = comparisons([result.to_json() for result in results])
    ratio = "\N{MULTIPLICATION SIGN}1.50"
    shown = Page(page(found)).text
    assert f"63.0 {ratio}" in shown
    assert "medians of 1 to 2 runs" in shown
    assert "a ratio is that of the medians" in shown
    assert ratio in plot(found)


@pytest.mark.parametrize(
    "setting",
    [{"temporal": "postgres"}, {"rate": 20.0}, {"duration": 4.0}, {"sleep_ms": 5}, {"bursts": 2}, {"timeout": 10.0}],
)
def test_runs_on_other_settings_are_no_rounds_of_the_same_median(setting: dict[str, Any]) -> None:
    usual = run("classic")
    other = run("classic", speed=80, settings=usual.settings | setting)
    found = comparisons([result.to_json() for result in (usual, other, usual)])
    assert [[result.workflows_per_s for result in one.runs["classic"]] for one in found] == [[40, 40], [80]]


def test_what_all_runs_ran_on_is_told_once_and_else_whose_it_is() -> None:
    usual = run("classic").versions
    results = [
        run("classic"),
        run("classic", versions=usual | {"python": "3.12.1"}),
        run("delegated", versions=usual | {"commit": "0123abc+", "cpu": None}),
    ]
    shown = Page(page(comparisons([result.to_json() for result in results])))
    assert shown.texts.count("18.1") == 1
    assert "differs: 3.11.7 (classic 1, delegated); 3.12.1 (classic 2)" in shown.texts
    assert "0123abc+ (delegated)" in shown.texts
    assert "The runs differ in python: see below which." in shown.text
    assert "The runs differ" not in Page(page([comparison("classic", "delegated")])).text


def test_persistence_operations_per_job_and_per_workflow() -> None:
    shown = Page(page([comparison("classic", jobs=5)])).text
    assert "persistence operations per job 1.40 persistence operations per workflow 7.00" in shown


def test_costs_are_read_as_they_were_written() -> None:
    (found,) = comparisons([run("classic").to_json()])
    assert found.runs["classic"][0].costs == run("classic").costs


@pytest.mark.parametrize(
    ("temporal", "words"),
    [
        ("dev", "Of the whole PostgreSQL server; Temporal's dev server keeps what it has in memory."),
        ("postgres", "Of the queue's PostgreSQL server; Temporal's own database is not in it."),
        ("deployed", "Temporal's own database is not in it, unless it is on that server too."),
        (["odd"], "Of the queue's whole PostgreSQL server."),
    ],
)
def test_whose_writes_are_counted(temporal: Any, words: str) -> None:
    settings = run().settings | {"temporal": temporal}
    shown = Page(page([comparison("classic", "delegated", settings=settings)])).text
    assert shown.count(words) == 4  # the table, and three plots
    assert ("on a deployment" in shown) is (temporal == "deployed")


def test_costs_of_servers_that_are_missing() -> None:
    words = "the servers, which it did not start, are not in it"
    costs = Costs(None, {}, 100, 1, 0, {"HTTP worker": ProcessCost(0.5, 1 << 20)})
    assert Page(page([comparison("classic", "delegated", costs=costs)])).text.count(words) == 3
    assert words not in Page(page([comparison("classic", "delegated")])).text


def test_times_by_clocks_that_start_at_different_moments_are_not_compared() -> None:
    found = comparison("classic", "delegated")
    cells = {line.label: line.cells for line in table(found)}
    for which in ("enqueue to start p50", "enqueue to start p99", "enqueue to result p50", "enqueue to result p99"):
        assert [cell.ratio for cell in cells[which]] == [None, None]
    assert cells["latency p50"][1].ratio is not None
    shown = Page(page([found])).text
    assert "clocks of the arms start at different moments" in shown
    assert "intended start" not in shown
    steady = comparison("classic", "delegated", start_lag_ms=run().job_start_ms)
    assert "counts from the intended start of the workflow" in Page(page([steady])).text
    drawn = plot([comparison("classic", "delegated", costs=None)])
    assert "enqueue to start p50, ms" in drawn
    assert drawn.count("\N{MULTIPLICATION SIGN}") == 2  # of throughput and latency


def test_times_of_queues_are_by_the_same_clock() -> None:
    steady = bulk()
    for result, p50 in zip(steady["runs"], (2.0, 3.0), strict=True):
        result["job_start_ms"] = dict.fromkeys(("p50", "p90", "p95", "p99", "avg", "max"), p50)
    found = comparisons([steady])
    shown = Page(page(found)).text
    assert "intended enqueue to start p50 ms 2.00 3.00 \N{MULTIPLICATION SIGN}1.50" in shown
    assert "different moments" not in shown
    assert "\N{MULTIPLICATION SIGN}1.50" in plot(found)


def test_text_from_files_is_never_markup() -> None:
    names = comparison(
        EVIL, "classic", scenario=EVIL, settings={EVIL: EVIL, "list": [{EVIL: EVIL}]}, versions={EVIL: EVIL}
    )
    text = page([names], data=EVIL)
    shown = Page(text)
    assert "script" not in {tag for tag, _ in shown.tags}
    assert "<script" not in text
    assert not re.search(r"<!--", text)
    assert EVIL in shown.texts
    drawn = ElementTree.fromstring(plot([names]))
    assert "script" not in {node.tag.rpartition("}")[2] for node in drawn.iter()}
    assert EVIL[:15] in " ".join(node.text or "" for node in drawn.iter())


texts = st.text(st.characters(codec=None), max_size=12)
numbers = st.one_of(st.just(0.0), st.floats(0, 1e15), st.floats(1e-300, 1e-3), st.integers(0, 10**15).map(float))


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    # Two wall clocks are compared, so a short time may come out below zero.
    times = numbers | st.floats(-5, 0)
    latency = st.none() | st.fixed_dictionaries({part: times for part in ("p50", "p90", "p95", "p99", "avg", "max")})
    counts = st.integers(0, 10**15)
    costs = st.fixed_dictionaries(
        {
            "persistence_operations": st.none() | counts,
            "persistence_by_operation": st.dictionaries(texts, counts, max_size=12),
            "wal_bytes": st.none() | counts,
            "commits": st.none() | counts,
            "dead_tuples": st.none() | counts,
            "processes": st.dictionaries(
                texts, st.fixed_dictionaries({"cpu_s": numbers, "peak_rss_bytes": counts}), max_size=12
            ),
        }
    )
    seconds = st.fixed_dictionaries({"s": st.integers(0, 50), "workflows": counts, "jobs": counts})
    return draw(
        st.fixed_dictionaries(
            {
                "arm": texts,
                "scenario": st.sampled_from(["single", "fanout"]),
                "workflows": counts,
                "jobs": counts,
                "concurrency": st.none() | counts,
                "completed": counts,
                "failed": counts,
                "duration_s": numbers,
                "workflows_per_s": numbers,
                "jobs_per_s": numbers,
                "latency_ms": latency,
                "history_events": st.none() | st.fixed_dictionaries({"avg": numbers, "max": counts}),
            },
            optional={
                "payload_bytes": st.sampled_from([0, 64]),
                "settings": st.dictionaries(
                    texts, texts | numbers | st.none() | st.booleans() | st.lists(texts), max_size=4
                ),
                "versions": st.dictionaries(texts, texts, max_size=4),
                "job_start_ms": latency,
                "job_end_ms": latency,
                "start_lag_ms": latency,
                "inline_share": st.none() | st.floats(0, 1),
                "latency_quantiles_ms": st.just([]) | st.lists(times, min_size=101, max_size=101),
                "series": st.lists(seconds, max_size=5),
                "costs": st.none() | costs,
            },
        )
    )


# Shrinking a whole result takes minutes; the failing one is readable enough.
@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(runs(), min_size=1, max_size=3))
def test_whatever_was_measured_makes_a_page_and_a_plot(tmp_path_factory, results: list[dict[str, Any]]) -> None:
    file = tmp_path_factory.mktemp("report") / "numbers.json"
    file.write_text(json.dumps(results))
    found = comparisons(read([file]))
    shown = page(found)
    Page(shown)
    shown.encode()
    for number in re.findall(r' (?:points|x|y|x1|x2|y1|y2|width|height)="([^"]*)"', shown):
        assert all(0 <= float(value) < 2000 for value in re.split(r"[ ,]", number) if value), number
    ElementTree.fromstring(plot(found))
