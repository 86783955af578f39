"""Kind `metrics`: which number a selector means, in Prometheus text and in JSON."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from probes.exposition import read_samples, read_selector
from probes.kinds.metrics import MetricsProbe, Options
from probes.probe import Ask, Deadline, Expect, Reading, Response
from probes.result import Reason, Status

TEXT = b"""# HELP pool_used Connections in use.
# TYPE pool_used gauge
pool_used{pool="main",host="a"} 7
pool_used{pool="main",host="b"} 5 1700000000000
pool_used{pool="spare"} 1
tricky{path="/a}b",quote="say \\"hi\\"",line="a\\nb"} 3.5e2
summary{quantile="0.99"} NaN
up +Inf
requests_total 100 # {trace_id="x"} 1
this is damage {{{
hits_total 800
misses_total 200
"""
JSON = b'{"pool": {"used": 7, "name": "main", "ok": true}, "nodes": [{"n": 1}, {"n": 2}], "text": "12.5", "bad": [1]}'


def talk(
    body: bytes, last: Reading | None = None, content_type: str = "text/plain", code: int = 200, **options: Any
) -> Reading:
    """Drive the conversation with a plain value, as the engine would."""
    probe = MetricsProbe(Options(url="http://app.example/metrics", **options), Expect())
    conversation = probe.converse(Ask(Deadline(5), 0, 10.0, last))
    next(conversation)
    with pytest.raises(StopIteration) as stop:
        conversation.send(Response("http://app.example/metrics", code, (("Content-Type", content_type),), body))
    reading = stop.value.value
    assert isinstance(reading, Reading)
    return reading


@pytest.mark.parametrize(
    ("selector", "value"),
    [
        ('pool_used{pool="spare"}', 1),
        ('pool_used{pool="main",host="b"}', 5),
        ('pool_used{pool="main"}', 12),
        ('pool_used{pool!="main"}', 1),
        ("pool_used", 13),
        ('tricky{path="/a}b"}', 350),
        ('tricky{quote="say \\"hi\\"", line="a\\nb"}', 350),
        ("requests_total", 100),
    ],
)
def test_prometheus_selectors(selector: str, value: float) -> None:
    assert talk(TEXT, values={"x": selector}).metrics["x"] == value


@pytest.mark.parametrize(
    ("selector", "value"), [("$.pool.used", 7), ("$.pool.ok", 1), ("$.nodes[*].n", 3), ("$.text", 12.5)]
)
def test_json_selectors(selector: str, value: float) -> None:
    assert talk(JSON, values={"x": selector}).metrics["x"] == value


def fails(body: bytes, **options: Any) -> tuple[Reason, str]:
    from probes.probe import Failure

    with pytest.raises(Failure) as caught:
        talk(body, **options)
    return caught.value.reason, caught.value.message


@pytest.mark.parametrize(
    ("body", "selector"),
    [(TEXT, "nothing"), (TEXT, 'pool_used{pool="x"}'), (JSON, "$.gone"), (JSON, "$.pool.name"), (JSON, "$.bad")],
)
def test_selector_that_finds_nothing_is_named(body: bytes, selector: str) -> None:
    reason, message = fails(body, values={"x": selector})
    assert reason is Reason.QUERY_ERROR
    assert selector in message


def test_bodies_in_no_format_are_decode_errors() -> None:
    assert fails(b"<html>no</html>", values={"x": "a"})[0] is Reason.DECODE_ERROR
    assert fails(b"{broken", values={"x": "$.a"})[0] is Reason.DECODE_ERROR


def test_number_that_is_none_is_left_out() -> None:
    reading = talk(TEXT, values={"p99": 'summary{quantile="0.99"}', "up": "up", "used": "pool_used"})
    assert reading.status is Status.UP
    assert "p99" not in reading.metrics
    assert "up" not in reading.metrics
    assert reading.metrics["used"] == 13


def test_counters_become_rates_and_a_windowed_share() -> None:
    options: dict[str, Any] = {
        "rates": {"hits_per_s": "hits_total"},
        "ratios": {"hit_ratio": {"hits": "hits_total", "misses": "misses_total"}},
    }
    first = talk(TEXT, **options)
    assert "hits_per_s" not in first.metrics
    time.sleep(0.1)
    second = talk(b"hits_total 1600\nmisses_total 400\n", first, **options)
    assert second.metrics["hit_ratio"] == 0.8
    assert 2000 < second.metrics["hits_per_s"] <= 8000
    time.sleep(0.01)
    restarted = talk(b"hits_total 3\nmisses_total 400\n", second, **options)
    assert "hit_ratio" not in restarted.metrics
    assert "hits_per_s" not in restarted.metrics


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"values": {"x": "a{b=c}"}},
        {"values": {"x": "$.a["}},
        {"values": {"X y": "a"}},
        {"values": {"x": "a"}, "rates": {"x": "b"}},
        {"format": "json", "values": {"x": "a"}},
        {"format": "prometheus", "values": {"x": "$.a"}},
    ],
)
def test_options_that_make_no_sense_are_refused(options: Any) -> None:
    with pytest.raises(ValidationError):
        Options(url="http://app.example/", **options)


def test_status_and_credentials_come_first() -> None:
    assert fails(b"", code=500, values={"x": "a"})[0] is Reason.HTTP_STATUS
    assert fails(b"", code=401, values={"x": "a"}, headers={"Authorization": "x"})[0] is Reason.AUTH_FAILED


def test_page_of_50000_lines_is_read_quickly() -> None:
    text = "".join(f'other_{n}{{label="{n}"}} {n}\n' for n in range(50_000)) + "wanted 1\n"
    started = time.process_time()
    assert [sample.value for sample in read_samples(text, ["wanted"])] == [1]
    assert time.process_time() - started < 0.1


def test_label_that_never_ends_is_not_read_for_ever() -> None:
    started = time.process_time()
    assert list(read_samples("a{" + 'x="\\' * 20_000)) == []
    with pytest.raises(ValueError, match="no label"):
        read_selector("a{" + "x" * 1000 + "}")
    assert time.process_time() - started < 0.5


def test_real_endpoint_is_read(servers: Any, answering: Any, ask_probe: Callable[..., Reading]) -> None:
    port = servers.start(answering(TEXT, headers="Content-Type: text/plain; version=0.0.4\r\n"))
    reading = ask_probe(MetricsProbe(Options(url=f"http://127.0.0.1:{port}/", values={"used": "pool_used"}), Expect()))
    assert (reading.status, reading.metrics["used"]) == (Status.UP, 13)
