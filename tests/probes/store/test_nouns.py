"""Processes, requests, pushes, events, meta: what goes in comes out."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from probes.probe import Push
from probes.store.asks import load_pushes_after, record_push, request_run, take_run_requests
from probes.store.database import Store
from probes.store.events import load_events, record_event
from probes.store.facts import load_facts, save_facts
from probes.store.meta import get_meta, set_meta
from probes.store.processes import Process, beat, forget_process, load_processes
from probes.store.retention import prune


def test_process_is_shown_as_it_last_beat(store: Store) -> None:
    first = Process("worker/default@host", "worker", "default", 17, "0.1.0", 1000, 2000, {"queue": 3.0}, ("late",))
    beat(store, first)
    beat(store, replace(first, seen_ms=3000, figures={"queue": 4.0, "bad": float("nan")}, notes=()))
    assert load_processes(store) == [replace(first, seen_ms=3000, figures={"queue": 4.0}, notes=())]
    forget_process(store, first.name)
    assert load_processes(store) == []


def test_run_request_is_taken_once(store: Store) -> None:
    for check_id in ("shop/b/tcp", "shop/a/tcp", "shop/b/tcp"):
        request_run(store, check_id, "anna")
    assert take_run_requests(store) == ["shop/b/tcp", "shop/a/tcp"]
    assert take_run_requests(store) == []


def test_pushes_come_in_order_after_the_last_one(store: Store) -> None:
    calls = [Push(1, "start"), Push(2, "fail", 3, "disk\0 full"), Push(3, "success")]
    for call in calls:
        record_push(store, "shop/backup/heartbeat", call)
    last, found = load_pushes_after(store, 0)
    assert [call for _, call in found] == [calls[0], replace(calls[1], text="disk full"), calls[2]]
    assert load_pushes_after(store, last) == (last, [])
    assert [call.at_ms for _, call in load_pushes_after(store, last - 1)[1]] == [3]


def test_push_after_all_were_pruned_is_still_new(engine: Engine) -> None:
    class Ages:
        raw_s = hourly_s = daily_s = 86400.0

    for at_ms in (1, 2, 3):
        record_push(engine, "shop/backup/heartbeat", Push(at_ms, "success"))
    last, _ = load_pushes_after(engine, 0)
    prune(engine, Ages(), 10**12)
    record_push(engine, "shop/backup/heartbeat", Push(4, "success"))
    assert [call.at_ms for _, call in load_pushes_after(engine, last)[1]] == [4]


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "subject", "found"),
    [
        (0, 100, None, ["gap", "deploy"]),
        (15, 100, None, ["gap", "deploy"]),
        (20, 100, None, ["deploy"]),
        (0, 30, None, ["gap"]),
        (0, 100, "shop", ["deploy"]),
    ],
)
def test_events_that_touch_the_range_are_found(
    store: Store, from_ms: int, to_ms: int, subject: str | None, found: list[str]
) -> None:
    record_event(store, 10, "gap", "nobody probed", subject="default", end_ms=20)
    record_event(store, 30, "deploy", "version 7", subject="shop")
    assert [event.kind for event in load_events(store, from_ms, to_ms, subject)] == found


def test_meta_is_set_and_removed(store: Store) -> None:
    assert get_meta(store, "sample_data_until_ms") is None
    for value in ("1", "2"):
        set_meta(store, "sample_data_until_ms", value)
        assert get_meta(store, "sample_data_until_ms") == value
    set_meta(store, "sample_data_until_ms", None)
    assert get_meta(store, "sample_data_until_ms") is None


def test_facts_are_kept_by_check_and_location(store: Store) -> None:
    check_id = "shop/" + "x" * 200
    save_facts(store, "here", {check_id: {"certificate": "a by ü"}, "b": {"redirects": "none"}})
    save_facts(store, "there", {check_id: {"certificate": "other"}})
    save_facts(store, "here", {check_id: {"certificate": "new"}, "b": {}})
    assert load_facts(store, "here") == {check_id: {"certificate": "new"}}
    assert load_facts(store, "there") == {check_id: {"certificate": "other"}}
