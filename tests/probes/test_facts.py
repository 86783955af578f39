"""Which changes of a target become events: the first, not each of a fact that goes to and fro."""

from probes.facts import DAY_MS, FactBook, describe

MINUTE_MS = 60_000
OLD, NEW = "a1b2 by CN=Old", "c3d4 by CN=New"


def told(book: FactBook, values: list[str], name: str = "certificate", every_ms: int = MINUTE_MS) -> list[str]:
    return [
        change.text
        for number, value in enumerate(values)
        for change in book.hear("shop/web/tls", {name: value}, number * every_ms)
    ]


def test_first_sight_is_no_change() -> None:
    assert told(FactBook(), [OLD, OLD]) == []


def test_change_is_told_once() -> None:
    assert told(FactBook(), [OLD, NEW, NEW, NEW]) == [f"certificate changed, issuer too: {OLD} → {NEW}"]


def test_change_during_a_restart_is_told() -> None:
    changes = FactBook({"shop/web/tls": {"certificate": OLD}}).hear("shop/web/tls", {"certificate": NEW}, 7)
    assert [(change.at_ms, change.check_id, change.kind) for change in changes] == [(7, "shop/web/tls", "certificate")]


def test_renewal_by_the_same_issuer_does_not_name_the_issuer() -> None:
    text = describe("certificate", "a1 by CN=R11", "b2 by CN=R11")
    assert text == "certificate changed: a1 by CN=R11 → b2 by CN=R11"


def test_way_back_is_told_too() -> None:
    assert len(told(FactBook(), [OLD, NEW, OLD])) == 2


def test_two_servers_that_take_turns_are_told_a_few_times_a_day() -> None:
    assert len(told(FactBook(), [OLD, NEW] * 720)) == 4
    assert 4 <= len(told(FactBook(), [OLD, NEW] * 1440)) <= 9


def test_new_value_is_told_in_spite_of_an_alternating_past() -> None:
    assert told(FactBook(), [OLD, NEW] * 100 + ["e5f6 by CN=Evil"])[-1].endswith("e5f6 by CN=Evil")


def test_ever_new_values_are_bounded_and_so_is_memory() -> None:
    book = FactBook()
    assert len(told(book, [f"10.0.{n // 250}.{n % 250}" for n in range(1000)], "DNS answer")) == 24
    assert max(len(seen) for seen in book._seen.values()) <= 48


def test_quiet_day_makes_all_news_again() -> None:
    book = FactBook()
    told(book, [OLD, NEW] * 10)
    last = book.facts_of("shop/web/tls")["certificate"]
    other = OLD if last == NEW else NEW
    assert len(book.hear("shop/web/tls", {"certificate": other}, 3 * DAY_MS)) == 1


def test_other_facts_stay_when_one_is_not_seen() -> None:
    book = FactBook()
    book.hear("a", {"certificate": OLD, "redirects": "none"}, 1)
    book.hear("a", {"certificate": OLD}, 2)
    assert [change.kind for change in book.hear("a", {"redirects": "https://x/"}, 3)] == ["redirects"]


def test_check_whose_question_changed_is_forgotten() -> None:
    book = FactBook({"a": {"certificate": OLD}})
    assert book.hear("a", {}, 1) == []
    assert book.facts_of("a") == {}
    assert book.hear("a", {"certificate": NEW}, 2) == []
