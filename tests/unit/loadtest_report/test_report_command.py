from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from loadtest import cli
from tests.unit.loadtest_report.results import bulk, comparison, old, run


@pytest.fixture
def report(monkeypatch, capsys, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["loadtest", "report", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        output = capsys.readouterr()
        assert output.out == ""
        return end.value.code or 0, output.err

    return call


def write(name: str, content: Any) -> str:
    Path(name).write_text(content if isinstance(content, str) else json.dumps(content))
    return name


def test_page_and_numbers(report) -> None:
    numbers = comparison("classic", "delegated").to_json()
    assert report(write("single.json", numbers), "--out", "page.html") == (0, "")
    assert "single" in Path("page.html").read_text()
    assert 'href="page.data.json"' in Path("page.html").read_text()
    assert json.loads(Path("page.data.json").read_text()) == {"results": [numbers]}


def test_numbers_make_the_same_page(report) -> None:
    """The file of numbers beside a page makes the same page again."""
    first = write("a.json", comparison("classic", "delegated").to_json())
    second = write("b.json", {"bulk": bulk()})
    assert report(first, second, "--out", "page.html") == (0, "")
    assert report("page.data.json", "--out", "again.html") == (0, "")
    assert Path("again.html").read_text() == Path("page.html").read_text().replace("page.data", "again.data")


def test_plot(report) -> None:
    assert report(write("single.json", comparison("classic", "delegated").to_json()), "--plot", "plot.svg") == (0, "")
    assert ElementTree.parse("plot.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert [file.name for file in Path().iterdir() if file.suffix != ".json"] == ["plot.svg"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(run().to_json(), id="a run"),
        pytest.param([run().to_json(), run("delegated").to_json()], id="a list of runs"),
        pytest.param(old(comparison("classic", "delegated").to_json()), id="old"),
        pytest.param(bulk(), id="bulk"),
        pytest.param({"bulk": bulk(), "steady": bulk()}, id="peers"),
    ],
)
def test_reads_every_kind_of_file(report, content: Any) -> None:
    """The report reads what any command wrote with --json, and what older versions wrote."""
    assert report(write("numbers.json", content), "--out", "page.html", "--plot", "plot.svg") == (0, "")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "numbers.json is not JSON"),
        ("[" * 100_000, "numbers.json is not JSON"),
        ('{"arm": NaN}', "numbers.json is not JSON"),
        ("3", "does not hold a result"),
        ("[]", "does not hold a result"),
        ("[1]", "does not hold a result"),
        ({}, "arm: field required"),
        ({"arm": "classic"}, "scenario: field required"),
        (run().to_json() | {"duration_s": "soon"}, "duration_s: input should be a valid number"),
        (run().to_json() | {"latency_ms": {"p50": 1}}, "latency_ms.p90: field required"),
        (run().to_json() | {"duration_s": 10**400}, "numbers.json: a number is larger"),
        (json.dumps(run().to_json()).replace('"duration_s": 2.5', '"duration_s": 1e400'), "is not JSON"),
        (run().to_json() | {"latency_quantiles_ms": [1, 2]}, "latency_quantiles_ms has not 101 values"),
        (
            run().to_json() | {"series": [{"s": 10**9, "workflows": 1, "jobs": 1}]},
            "series has a second that no run has",
        ),
        (comparison("classic").to_json() | {"arms": []}, "arms is not an object"),
        (comparison("classic").to_json() | {"runs": 4}, "runs is not a list"),
        (comparison("classic").to_json() | {"runs": [{"arm": "classic"}]}, "runs.0.scenario: field required"),
        (comparison("classic").to_json() | {"rounds": "three"}, "rounds is not a number"),
        (comparison("classic").to_json() | {"scenario": None}, "scenario is not a text"),
        (run().to_json() | {"settings": {"a": json.loads("[" * 50 + "]" * 50)}}, "nested too deeply"),
    ],
)
def test_bad_file(report, content: Any, words: str) -> None:
    """A bad file ends the command with one line and exit code 2, and nothing is written."""
    code, errors = report(write("numbers.json", content), "--out", "page.html")
    assert code == 2
    assert words in errors
    assert "numbers.json" in errors
    assert errors.count("\n") == 1
    assert not Path("page.html").exists()


def test_unreadable_and_unwritable_files(report) -> None:
    code, errors = report("none.json", "--out", "page.html")
    assert (code, errors) == (2, "loadtest: can't read none.json: No such file or directory\n")
    numbers = write("numbers.json", run().to_json())
    code, errors = report(numbers, "--out", "no/such/directory/page.html")
    assert code == 2
    assert errors.startswith("loadtest: can't write no/such/directory/page")
    code, errors = report(numbers)
    assert code == 2
    assert "--out PAGE.html" in errors
    code, errors = report(write("page.data.json", run().to_json()), numbers, "--out", "page.html")
    assert (code, errors) == (2, "loadtest: page.data.json is one of the files to read: name another file to write\n")
    assert json.loads(Path("page.data.json").read_text()) == run().to_json()


def test_binary_file(report) -> None:
    Path("numbers.json").write_bytes(b"\xff\xfe\x00")
    code, errors = report("numbers.json", "--out", "page.html")
    assert (code, errors) == (2, "loadtest: numbers.json is not JSON: is it a file that --json wrote?\n")


def test_missing_library(report, monkeypatch) -> None:
    """Without the libraries of the extra the command says what to install."""
    numbers = write("numbers.json", run().to_json())
    for module in ("overview", "page", "drawing", "sections", "line_charts", "bar_charts"):
        monkeypatch.delitem(sys.modules, f"loadtest.report.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, errors = report(numbers, "--out", "page.html")
    assert code == 2
    assert errors == (
        "loadtest: the report needs matplotlib, which is not installed: pip install 'temporal-delegator[loadtest]'\n"
    )
