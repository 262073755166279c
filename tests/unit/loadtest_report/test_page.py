from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from loadtest.report.files import comparisons, read
from loadtest.report.measures import table
from loadtest.report.overview import overview
from loadtest.report.page import page
from loadtest.report.what_ran import command
from loadtest.results.comparison import Comparison
from loadtest.results.costs import Costs, ProcessCost
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


@pytest.fixture(scope="module")
def usual() -> str:
    """The page of a usual comparison: to make one takes a third of a second."""
    return page([comparison("classic", "delegated")])


def drawings_in(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg xmlns.*?</svg>", text, re.S)]


def said(drawing: ElementTree.Element) -> str:
    return drawing.findtext("{http://www.w3.org/2000/svg}desc") or ""


def test_every_arm_is_shown() -> None:
    """Every arm is in the table and in every chart."""
    arms = ["classic", "floor", "delegated", "drop-in", "one of yours"]
    text = page([comparison(*arms)])
    shown = Page(text)
    headers = [text for text in shown.texts if text in arms]
    assert all(headers.count(arm) >= 4 for arm in arms)
    titles = {"Latency distribution", "Throughput over time", "Processor time per job", "Peak memory"}
    titles |= {"Temporal's persistence operations per job", "Write-ahead log per job", "Commits per job"}
    titles |= {"Dead tuples per job"}
    assert titles <= set(shown.texts)
    drawings = drawings_in(text)
    assert len(drawings) == len(titles)
    assert all(set(arms) <= set(re.split("[:;] ?", said(drawing))) for drawing in drawings)


def test_needs_nothing_from_elsewhere() -> None:
    """A page asks for nothing but itself and links to nothing but the numbers beside it."""
    text = page([comparison("classic", "delegated")], data="page.data.json")
    for tag, attributes in Page(text).tags:
        assert tag not in ("script", "link", "img", "iframe", "object")
        assert all(
            value in (None, "page.data.json") or value.startswith("#")
            for key, value in attributes.items()
            if key in ("href", "src")
        )
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text


def test_charts_are_described_in_words() -> None:
    """A reader who can't see a chart gets its title and its numbers; no id is used twice."""
    text = page([comparison("classic", "delegated"), comparison("classic", jobs=5, scenario="sequence")])
    charts = [attributes for tag, attributes in Page(text).tags if tag == "svg" and "role" in attributes]
    assert len(charts) == 16
    ids = [attributes["id"] for _, attributes in Page(text).tags if attributes.get("id")]
    assert len(set(ids)) == len(ids)
    for attributes in charts:
        assert attributes["role"] == "img"
        assert set((attributes["aria-labelledby"] or "").split()) <= set(ids)
    assert "classic: p50" in text
    assert "delegated: p50" in text


def test_charts_take_their_colours_from_the_page(usual: str) -> None:
    """No chart has a colour of its own, which a dark page could not change."""
    for drawing in drawings_in(usual):
        styles = " ".join(element.get("style", "") for element in drawing.iter())
        assert "var(--" in styles
        assert not re.search("#[0-9a-f]{6}", styles)


def test_the_same_numbers_make_the_same_text(usual: str) -> None:
    """A report that is made again differs in nothing, so that a version control system shows what changed."""
    found = [comparison("classic", "delegated")]
    assert page(found) == usual
    assert overview(found) == overview(found)


def test_medians_with_spread_and_ratios(usual: str) -> None:
    shown = Page(usual).text
    assert "41.0 40.0\N{EN DASH}42.0" in shown  # workflows/s of classic
    assert "51.0 \N{MULTIPLICATION SIGN}1.24 50.0\N{EN DASH}52.0" in shown  # of delegated
    assert "1.17 KiB" in shown  # 120,000 bytes of WAL for 100 jobs


def test_ratios_are_medians_of_the_rounds() -> None:
    """A ratio is the median of the ratios of the rounds, in the page and in the overview.

    Here the machine halved its speed twice: both medians are 40, and in two rounds of three one arm was half as fast.
    """
    speeds = {"classic": (90, 20, 40), "delegated": (45, 40, 20)}
    runs = {arm: [run(arm, speed=speed) for speed in of_arm] for arm, of_arm in speeds.items()}
    drifted = Comparison("single", 3, runs)
    half, no = "\N{MULTIPLICATION SIGN}0.50", "\N{MULTIPLICATION SIGN}1.00"
    assert f"40.0 {half} 20.0\N{EN DASH}45.0" in Page(page([drifted])).text
    workflows_per_s, latency, operations = re.findall("\N{MULTIPLICATION SIGN}[0-9.]+", overview([drifted]))
    assert (workflows_per_s, latency, operations) == (half, "\N{MULTIPLICATION SIGN}2.00", no)


def test_command_that_repeats_it(usual: str) -> None:
    found = comparison("classic", "delegated")
    words = "--arms classic,delegated --scenario single --rounds 3 --workflows 100 --jobs 1 --concurrency 10"
    assert command(found) == f"python -m loadtest compare {words} --payload-bytes 64"
    single = Comparison("steady", 1, {"classic": [run(settings={"rate": 20.0, "duration": 30.0, "jobs": 1})]})
    assert command(single) == "python -m loadtest run --arm classic --scenario steady --rate 20 --duration 30 --jobs 1"
    steady = Comparison("steady", 1, {"classic": [run(settings={"rate": 20.0, "http_concurrency": 1_000})]})
    assert command(steady) == "python -m loadtest run --arm classic --scenario steady --rate 20"
    (queues,) = comparisons([bulk()])
    words = "--queues pgqueuer --scenarios bulk --jobs 5000 --payload-bytes 100 --rounds 1"
    assert command(queues) == f"python -m loadtest peers {words}"
    shown = Page(usual).text
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
def test_what_was_not_measured_is_not_shown(usual: str, missing: dict[str, Any], title: str) -> None:
    assert title in Page(usual).texts
    assert title not in Page(page([comparison("classic", "delegated", **missing)])).texts


def test_old_files() -> None:
    """Files of older versions have fewer numbers: the page shows those."""
    shown = Page(page(comparisons([old(comparison("classic", "delegated").to_json())])))
    assert {"Latency distribution", "Throughput", "classic", "delegated"} <= set(shown.texts)
    assert "Processor time per job" not in shown.texts


def test_queues_without_workflows() -> None:
    shown = Page(page(comparisons([bulk()]))).text
    assert "5,000 jobs" in shown
    assert "workflows/s" not in shown
    assert "4,000 \N{MULTIPLICATION SIGN}0.80" in shown
    assert "relay's peak memory 100 MiB" in shown


def test_runs_of_one_load_are_compared() -> None:
    results = [run("classic"), run("delegated"), run("classic", speed=44), run("classic", scenario="burst")]
    found = comparisons([result.to_json() for result in results])
    assert [(one.scenario, one.rounds, {arm: len(runs) for arm, runs in one.runs.items()}) for one in found] == [
        ("single", 2, {"classic": 2, "delegated": 1}),
        ("burst", 1, {"classic": 1}),
    ]


def test_unequal_numbers_of_runs() -> None:
    results = [run("classic", speed=40), run("delegated", speed=63), run("classic", speed=44)]
    found = comparisons([result.to_json() for result in results])
    ratio = "\N{MULTIPLICATION SIGN}1.50"
    shown = Page(page(found)).text
    assert f"63.0 {ratio}" in shown
    assert "medians of 1 to 2 runs" in shown
    assert "a ratio is that of the medians" in shown
    assert ratio in overview(found)


@pytest.mark.parametrize(
    "setting",
    [{"temporal": "postgres"}, {"rate": 20.0}, {"duration": 4.0}, {"sleep_ms": 5}, {"bursts": 2}, {"timeout": 10.0}],
)
def test_runs_on_other_settings_are_apart(setting: dict[str, Any]) -> None:
    """Only runs of the same load on the same settings are rounds of one median."""
    usual = run("classic")
    other = run("classic", speed=80, settings=usual.settings | setting)
    found = comparisons([result.to_json() for result in (usual, other, usual)])
    assert [[result.workflows_per_s for result in one.runs["classic"]] for one in found] == [[40, 40], [80]]


def test_versions_that_differ(usual: str) -> None:
    """A version that all runs share is shown once; of another the page says which arm and round had it."""
    versions = run("classic").versions
    results = [
        run("classic"),
        run("classic", versions=versions | {"python": "3.12.1"}),
        run("delegated", versions=versions | {"commit": "0123abc+", "cpu": None}),
    ]
    shown = Page(page(comparisons([result.to_json() for result in results])))
    assert shown.texts.count("18.1") == 1
    assert "differs: 3.11.7 (classic 1, delegated); 3.12.1 (classic 2)" in shown.texts
    assert "0123abc+ (delegated)" in shown.texts
    assert "The runs differ in python: see below." in shown.text
    assert "The runs differ" not in Page(usual).text


def test_persistence_operations() -> None:
    shown = Page(page([comparison("classic", jobs=5)])).text
    assert "persistence operations per job 1.40 persistence operations per workflow 7.00" in shown


def test_costs_are_read_as_they_were_written() -> None:
    (found,) = comparisons([run("classic").to_json()])
    assert found.runs["classic"][0].costs == run("classic").costs


@pytest.mark.parametrize(
    ("temporal", "words"),
    [
        ("dev", "Of the whole PostgreSQL server. Temporal's dev server keeps its data in memory."),
        ("postgres", "Of the queue's PostgreSQL server, without Temporal's own database."),
        ("deployed", "without Temporal's own database unless it is on that server too."),
        (["odd"], "Of the queue's whole PostgreSQL server."),
    ],
)
def test_whose_writes_are_counted(temporal: Any, words: str) -> None:
    settings = run().settings | {"temporal": temporal}
    shown = Page(page([comparison("classic", "delegated", settings=settings)])).text
    assert shown.count(words) == 4  # the table, and three plots
    assert ("on a deployment" in shown) is (temporal == "deployed")


def test_costs_without_those_of_the_servers(usual: str) -> None:
    words = "processes only, because it did not start the servers"
    costs = Costs(None, {}, 100, 1, 0, {"HTTP worker": ProcessCost(0.5, 1 << 20)})
    assert Page(page([comparison("classic", "delegated", costs=costs)])).text.count(words) == 3
    assert words not in Page(usual).text


def test_times_of_jobs_have_no_ratios(usual: str) -> None:
    """The clocks of arms start at different moments, so their times from enqueue on are not compared."""
    found = comparison("classic", "delegated")
    cells = {row.label: row.cells for row in table(found)}
    for which in ("enqueue to start p50", "enqueue to start p99", "enqueue to result p50", "enqueue to result p99"):
        assert [cell.ratio for cell in cells[which]] == [None, None]
    assert cells["latency p50"][1].ratio is not None
    shown = Page(usual).text
    assert "clocks of the arms start at different moments" in shown
    assert "intended start" not in shown
    steady = comparison("classic", "delegated", start_lag_ms=run().job_start_ms)
    assert "counts from the intended start of the workflow" in Page(page([steady])).text
    drawn = overview([comparison("classic", "delegated", costs=None)])
    assert "enqueue to start p50, ms" in drawn
    assert drawn.count("\N{MULTIPLICATION SIGN}") == 2  # of throughput and latency


def test_times_of_queues_have_ratios() -> None:
    """The clock of every queue starts at the intended enqueue."""
    steady = bulk()
    for result, p50 in zip(steady["runs"], (2.0, 3.0), strict=True):
        result["job_start_ms"] = dict.fromkeys(("p50", "p90", "p95", "p99", "avg", "max"), p50)
    found = comparisons([steady])
    shown = Page(page(found)).text
    assert "intended enqueue to start p50 ms 2.00 3.00 \N{MULTIPLICATION SIGN}1.50" in shown
    assert "different moments" not in shown
    assert "\N{MULTIPLICATION SIGN}1.50" in overview(found)


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
    drawn = ElementTree.fromstring(overview([names]))
    assert "script" not in {node.tag.rpartition("}")[2] for node in drawn.iter()}
    assert EVIL[:15] in " ".join(node.text or "" for node in drawn.iter())


def test_dollar_signs() -> None:
    """matplotlib takes text between dollar signs for a formula, but names are shown as they are."""
    found = [comparison("$a^2$", "classic")]
    for text in (page(found), overview(found)):
        drawn = [
            node.text for drawing in drawings_in(text) for node in drawing.iter("{http://www.w3.org/2000/svg}text")
        ]
        assert "$a^2$" in drawn


def test_tiny_numbers() -> None:
    """A rate of nearly nothing is no number to draw, and no reason to fail."""
    found = [comparison("classic", jobs_per_s=2e-309, workflows_per_s=2e-309, series=[])]
    assert "Throughput" not in Page(page(found)).texts
    assert "classic" in overview(found)


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
@settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(runs(), min_size=1, max_size=3))
def test_any_numbers_make_a_page(tmp_path_factory, results: list[dict[str, Any]]) -> None:
    file = tmp_path_factory.mktemp("report") / "numbers.json"
    file.write_text(json.dumps(results))
    found = comparisons(read([file]))
    shown = page(found)
    Page(shown)
    shown.encode()
    ElementTree.fromstring(overview(found))
