from __future__ import annotations

import pytest

from loadtest import cli


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "Missing command"),
        ("walk", "No such command 'walk'"),
        ("run --arm classic", "--scenario"),
        ("run --arm modern --scenario single", "--arm: 'modern' is none of floor, classic"),
        ("run --arm classic --scenario double", "--scenario: 'double' is none of single"),
        ("run --arm classic --scenario single --workflows many", "--workflows"),
        ("run --arm classic --scenario single --concurrency 0", "--concurrency must be at least 1"),
        ("run --arm classic --scenario single --jobs 2", "try fanout"),
        ("run --arm classic --scenario single --timeout 0", "--timeout must be positive"),
        ("run --arm classic --scenario fanout --jobs 2001", "2000 pending activities"),
        ("run --arm classic --scenario single --json /no/such/directory/file", "--json: can't write"),
        ("compare --arms classic,classic --scenario single", "--arms: name each arm once"),
        ("compare --arms delegated,classic --scenario fanout --jobs 2001", "2000 pending activities"),
        ("compare --scenario single --rounds 0", "--rounds must be at least 1"),
        ("compare --bogus", "--bogus"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(monkeypatch, capsys, arguments: str, words: str) -> None:
    monkeypatch.setattr("sys.argv", ["loadtest", *arguments.split()])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert words in output.err
    assert output.err.count("\n") == 1
