"""The alerts' sections: what is accepted, and where each mistake is said to be."""

from pathlib import Path
from typing import Any

import pytest

from alerts.config import Alerting, load_all
from alerts.incident import Incident, IncidentState, Member, Severity
from alerts.mute import Window, matches
from alerts.route import Route, receivers
from probes.document import ConfigError

WHOLE = """
defaults: {interval: 10s, notify: [ops]}
sites:
  shop:
    targets:
      web: {tier: web, needs: [db], checks: [{kind: http, url: "https://shop.example.org/"}]}
      db: {tier: database, checks: [{kind: http, url: "https://db.example.org/", notify: [hook]}]}
notifiers:
  ops: {kind: email, to: [ops@example.org], fallback: hook,
        smtp: {host: mail.example.org, port: 587, security: starttls, username: x, password: "${env:SMTP_PASSWORD}"}}
  hook: {kind: webhook, url: "https://hooks.example.org/bw", secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
  out: {kind: log}
routes: [{match: {site: shop, severity: page}, notify: [ops, hook]}, {match: {severity: warning}, notify: out}]
maintenance: [{match: {site: shop}, rrule: "FREQ=WEEKLY;BYDAY=SU", at: "02:00", for: 2h, zone: Europe/Berlin}]
alerts: {group_wait: 5s, external_url: "https://watch.example.org/"}
"""


def load(tmp_path: Path, text: str) -> Alerting:
    file = tmp_path / "backwatch.yaml"
    file.write_text(text)
    return load_all(file, tmp_path)[1]


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "S3cr3tCanary")


def test_whole_configuration_is_read(tmp_path: Path) -> None:
    alerting = load(tmp_path, WHOLE)
    assert {name: made.kind for name, made in alerting.notifiers.items()} == {
        "ops": "email", "hook": "webhook", "out": "log",
    }  # fmt: skip
    assert alerting.routes[1] == Route(("out",), {"severity": "warning"})
    assert (alerting.timings.group_wait, alerting.timings.group_interval) == (5, 300)
    assert alerting.external_url == "https://watch.example.org"
    assert "S3cr3tCanary" not in repr(alerting.notifiers["ops"].options)


@pytest.mark.parametrize(
    ("wrong", "line", "words"),
    [
        ("notifiers: {ops: {kind: emial, to: [a@b.c]}}", 1, "unknown kind 'emial'"),
        ("notifiers: {ops: {to: [a@b.c]}}", 1, "needs a kind"),
        ("notifiers:\n  ops: {kind: email, too: [a@b.c], smtp: {host: x}}", 2, "unknown key 'too'"),
        ("notifiers:\n  ops: {kind: email, to: [nobody], smtp: {host: x}}", 2, "an address looks like"),
        ("notifiers: {hook: {kind: webhook, url: 'ftp://x/'}}", 1, "http:// or https://"),
        ("notifiers: {hook: {kind: webhook, url: 'http://x/', secret: short}}", 1, "24 to 64 random bytes"),
        ("notifiers: {a: {kind: log, fallback: a}}", 1, "no other notifier is called 'a'"),
        ("notifiers: {'a b': {kind: log}}", 1, "is no name for a notifier"),
        ("notifiers: {a: {kind: log}}\nroutes: [{notify: [b]}]", 2, "no notifier is called 'b'"),
        ("notifiers: {a: {kind: log}}\nroutes: [{match: {sight: x}, notify: [a]}]", 2, "unknown label 'sight'"),
        ("notifiers: {a: {kind: log}}\nroutes: [{match: {site: '~('}, notify: [a]}]", 2, "pattern '('"),
        ("notifiers: {a: {kind: log}}\nroutes: {notify: [a]}", 2, "routes must be a list"),
        ("maintenance: [{at: '02:00', for: 2h, zone: Mars/Base}]", 1, "no such zone"),
        ("maintenance: [{at: '02:00', for: 2h, rrule: 'EVERY=DAY'}]", 1, "is no iCalendar rule"),
        ("maintenance: [{at: 'two', for: 2h}]", 1, "two"),
        ("maintenance: [{at: '02:00'}]", 1, "'for' is missing"),
        ("alerts: {group_wiat: 5s}", 1, "did you mean"),
        ("defaults: {notify: [ops]}", 1, "no notifier is called 'ops'"),
    ],
)
def test_each_mistake_is_named_with_its_line(tmp_path: Path, wrong: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"{wrong}\nsites: {{shop: {{targets: {{web: {{tier: web}}}}}}}}\n")
    problems = caught.value.problems
    assert any(problem.line == line and words in f"{problem.message} {problem.suggestion}" for problem in problems), (
        str(caught.value)
    )


def test_problems_of_both_parts_come_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "sites: {shop: {targets: {web: {tier: wep}}}}\nnotifiers: {a: {kind: lock}}\n")
    assert {problem.line for problem in caught.value.problems} == {1, 2}


def test_nobody_to_tell_is_said(tmp_path: Path) -> None:
    assert "nobody is told" in load(tmp_path, "sites: {}\n").warnings[0]


def test_notifier_that_nobody_names_is_said(tmp_path: Path) -> None:
    text = "notifiers: {a: {kind: log}, b: {kind: log}}\ndefaults: {notify: [a]}\nsites: {}\n"
    assert "Notifier b" in load(tmp_path, text).warnings[0]


def incident(severity: Severity) -> Incident:
    return Incident(
        "x", "shop/db", IncidentState.OPEN, severity, "shop/db", (Member("shop/db", 0),), "", "", "tcp_refused", 0
    )


@pytest.mark.parametrize(
    ("routes", "default", "severity", "expected"),
    [
        pytest.param([], [], Severity.PAGE, ("a", "b"), id="nothing said: everyone hears of pages"),
        pytest.param([], [], Severity.WARNING, (), id="nothing said: nobody of warnings"),
        pytest.param([], ["b"], Severity.WARNING, ("b",), id="default"),
        pytest.param([Route(("a",), {"tier": "database"})], ["b"], Severity.PAGE, ("a",), id="route"),
        pytest.param([Route(("a",), {"tier": "!database"})], ["b"], Severity.PAGE, ("b",), id="no route matches"),
        pytest.param([Route(("a",)), Route(("a", "b"))], [], Severity.PAGE, ("a", "b"), id="all that match, once"),
    ],
)
def test_who_hears(shop: Any, routes: Any, default: Any, severity: Severity, expected: tuple[str, ...]) -> None:
    assert receivers(incident(severity), shop.estate(), routes, ["a", "b"], default=default) == expected


@pytest.mark.parametrize(
    ("matchers", "holds"),
    [
        ({"site": "shop"}, True),
        ({"site": "shop", "tier": "web"}, False),
        ({"target": "~shop/d.*"}, True),
        ({"target": "~d"}, False),
        ({"tag": "!gold"}, False),
        ({"tag": "!~silver|bronze"}, True),
        ({}, True),
    ],
)
def test_matchers(matchers: dict[str, str], holds: bool) -> None:
    labels = {"site": frozenset({"shop"}), "target": frozenset({"shop/db"}), "tag": frozenset({"gold", "eu"})}
    assert matches(matchers, labels) is holds


def ms(text: str) -> int:
    from datetime import datetime

    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("at", "covered"),
    [
        ("2026-03-28T01:59:59+01:00", False),
        ("2026-03-29T02:30:00+01:00", True),  # the night the clock goes forward: the length stays two hours
        ("2026-03-29T05:00:01+02:00", False),
        ("2026-10-25T02:30:00+02:00", True),  # the night it goes back
        ("2026-10-25T03:30:00+01:00", False),
        ("2026-10-26T02:30:00+01:00", False),  # not a Sunday
    ],
)
def test_weekly_window_over_changes_of_the_clock(at: str, covered: bool) -> None:
    from datetime import time

    window = Window({}, 7200, at=time(2), rule="FREQ=WEEKLY;BYDAY=SU", zone="Europe/Berlin")
    assert window.covers(ms(at)) is covered
