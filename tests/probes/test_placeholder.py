"""A value stays one value wherever it is put."""

import json

import pytest

from probes.placeholder import MissingValue, fill, fill_all, fill_url, names_in, spelling_for

VALUES = {"token": 'a"b&c=d/e?f', "next": "https://shop.example/next?x=1"}


def test_names_are_found_at_any_depth() -> None:
    assert set(names_in({"a": ["{{one}}", {"b": "x{{ two }}y{{three}}"}], "c": 7})) == {"one", "two", "three"}
    assert list(names_in("${env:X} {one} { {two} }")) == []


def test_a_value_in_a_url_cannot_leave_its_place() -> None:
    assert fill_url("/orders/{{token}}?next={{next}}", VALUES) == (
        "/orders/a%22b%26c%3Dd%2Fe%3Ff?next=https%3A%2F%2Fshop.example%2Fnext%3Fx%3D1"
    )


def test_a_url_that_begins_with_a_value_is_that_url() -> None:
    assert fill_url("{{next}}&y={{token}}", VALUES) == "https://shop.example/next?x=1&y=a%22b%26c%3Dd%2Fe%3Ff"


@pytest.mark.parametrize(
    ("content_type", "body", "filled"),
    [
        ("application/json; charset=utf-8", '{"t": "{{token}}"}', '{"t": "a\\"b&c=d/e?f"}'),
        ("application/x-www-form-urlencoded", "t={{token}}", "t=a%22b%26c%3Dd%2Fe%3Ff"),
        ("text/plain", "t={{token}}", 't=a"b&c=d/e?f'),
    ],
    ids=["json", "form", "text"],
)
def test_a_value_in_a_body_is_spelt_as_the_body_is(content_type: str, body: str, filled: str) -> None:
    assert fill(body, VALUES, spelling_for(content_type)) == filled


def test_a_value_within_json_is_a_text() -> None:
    sent = json.dumps(fill_all({"a": ["{{token}}", 1, None]}, VALUES))
    assert json.loads(sent) == {"a": [VALUES["token"], 1, None]}


def test_a_value_that_is_not_there_is_named() -> None:
    with pytest.raises(MissingValue) as missing:
        fill("{{nothing}}", VALUES)
    assert missing.value.args == ("nothing",)
