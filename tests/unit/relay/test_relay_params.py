import pytest

from delegator.relay.params import (
    BadRequestError,
    accepts_json,
    check_ack_id,
    parse_ack_ids,
    parse_batch_size,
    parse_wait_for,
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0), (500, 0.5), (300_000, 300), (1234.5, 1.2345), ("500", 0.5), ("1000ms", 1), ("60s", 60), ("5m", 300),
        ("300000", 300), ("0500ms", 0.5),
    ],
)  # fmt: skip
def test_wait_for_is_a_duration(value: object, seconds: float) -> None:
    assert parse_wait_for({"wait_for": value}) == seconds


def test_without_wait_for_there_is_no_wait() -> None:
    assert parse_wait_for({}) == 0


@pytest.mark.parametrize(
    "value",
    [0, 499, 300_001, -1, "0", "", "499ms", "301s", "6m", "1h", "1.5s", " 1s", "1s ", "1 s", "-1s", "abc", "1S", True,
     [], {}, float("nan"), float("inf"), "9" * 40, "\u0665s"],
)  # fmt: skip
def test_anything_else_is_a_bad_request(value: object) -> None:
    with pytest.raises(BadRequestError, match="wait_for"):
        parse_wait_for({"wait_for": value})


def test_batch_size_has_an_alias_that_wins() -> None:
    assert parse_batch_size({}) == 1
    assert parse_batch_size({"max_batch_size": 1000}) == 1000
    assert parse_batch_size({"max_batch_size": "7"}) == 7
    assert parse_batch_size({"max_batch_size": 5, "batch_size": 9}) == 9


@pytest.mark.parametrize("value", [0, 1001, -1, "0", "1.5", "x", "", None, True, 1.5, [], "1" * 50])
def test_a_bad_batch_size_is_a_bad_request(value: object) -> None:
    for name in ("max_batch_size", "batch_size"):
        with pytest.raises(BadRequestError, match="between 1 and 1000"):
            parse_batch_size({name: value})


@pytest.mark.parametrize("params", [{}, {"ack_ids": []}, {"ack_ids": "x"}, {"ack_ids": [1]}, {"ack_ids": [None]}])
def test_ack_ids_are_a_list_with_strings(params: dict[str, object]) -> None:
    with pytest.raises(BadRequestError, match="ack_ids"):
        parse_ack_ids(params)


def test_an_ack_id_is_a_uuid() -> None:
    check_ack_id("7B6c2d1e-0000-4000-8000-000000000001")
    for wrong in ("", "7b6c2d1e", "7b6c2d1e-0000-4000-8000-00000000000g", "7b6c2d1e-0000-4000-8000-000000000001\n"):
        with pytest.raises(BadRequestError):
            check_ack_id(wrong)


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (None, True), ("", True), ("*/*", True), ("application/json", True), ("application/*;q=0.5", True),
        ("text/html, application/json;q=0.9", True), ("Application/JSON", True), ("text/html", False),
        ("application/xml, text/*", False),
    ],
)  # fmt: skip
def test_the_accept_header(header: str | None, accepted: bool) -> None:
    assert accepts_json(header) is accepted
