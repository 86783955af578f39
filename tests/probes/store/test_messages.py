"""Messages: what is always new is masked, what people need stays."""

import pytest

from probes.store.messages import Allowance, mask, normalise


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("connection refused by 10.0.0.5:5432", "connection refused by 10.0.0.5:5432"),
        ("hit_ratio 0.431872 below 0.85", "hit_ratio 0.43 below 0.85"),
        ("0.000123 s", "0.00012 s"),
        ("took 12.3456 s", "took 12.35 s"),
        ("MariaDB 10.11.6", "MariaDB 10.11.6"),
        ("request 0b5cd1de-9d0c-4f1a-8e5c-64ad4b0f0f11 failed", "request … failed"),
        ("trace 4bf92f3577b34da6a3ce929d0e0e4736", "trace …"),
        ("at 1760000400123", "at …"),
        ("line one\n\tline\0two", "line one line two"),
        ("x" * 900, "x" * 500),
    ],
)
def test_text_is_normalised(text: str, kept: str) -> None:
    assert normalise(text) == kept


def test_mask_leaves_no_number() -> None:
    assert mask("10.0.0.5:5432 said 0.43 in 12 s") == "# said # in # s"


def test_allowance_begins_anew_each_day() -> None:
    allowance = Allowance(2)
    day = 86_400_000
    assert [allowance.take("a", 0) for _ in range(3)] == [True, True, False]
    assert allowance.take("b", 1)
    assert allowance.take("a", day)
