"""Evidence comes into the store with its result, and goes when it expires."""

from sqlalchemy import Engine

from probes.evidence import pack
from probes.result import Evidence, EvidenceKind, Reason, Result, Status
from probes.store.database import Store
from probes.store.evidence import load_evidence, prune_surplus
from probes.store.results import ResultWriter, load_results
from probes.store.retention import prune

NOW = 1_760_000_000_000


class Ages:
    raw_s = hourly_s = daily_s = 90 * 86_400.0


def failing(slot_ms: int, check_id: str = "shop/web/http", expires_ms: int = NOW + 1000) -> Result:
    data = pack({"message": f"of {slot_ms}"})
    evidence = Evidence(EvidenceKind.FIRST, slot_ms, expires_ms, lambda: data)
    return Result(check_id, "here", slot_ms, slot_ms, Status.DOWN, Reason.TCP_REFUSED, "refused", evidence=evidence)


def test_evidence_is_read_back_by_check_and_time(store: Store) -> None:
    writer = ResultWriter(store)
    writer.save([failing(NOW), failing(NOW + 1), failing(NOW, "shop/db/tcp"), Result("a/b/c", "here", 1, 1, Status.UP)])
    writer.save([failing(NOW)])  # handed over again
    found = load_evidence(store, ["shop/web/http"], NOW, NOW + 10)
    assert [(one.slot_ms, one.kind, one.content["message"]) for one in found] == [
        (NOW + 1, EvidenceKind.FIRST, f"of {NOW + 1}"),
        (NOW, EvidenceKind.FIRST, f"of {NOW}"),
    ]
    assert load_evidence(store, ["shop/web/http"], NOW + 1, NOW + 1) == []
    assert len(load_evidence(store, ["shop/web/http", "shop/db/tcp"], 0, NOW + 10)) == 3
    assert load_results(store, "shop/web/http", 0, NOW + 10)[0].evidence is None


def test_expired_evidence_goes_and_results_stay(engine: Engine) -> None:
    ResultWriter(engine).save([failing(NOW, expires_ms=NOW + 5), failing(NOW + 1, expires_ms=NOW + 50)])
    assert prune(engine, Ages(), NOW + 20) == 1
    assert [one.slot_ms for one in load_evidence(engine, ["shop/web/http"], 0, NOW + 100)] == [NOW + 1]
    assert len(load_results(engine, "shop/web/http", 0, NOW + 100)) == 2


def test_a_check_keeps_only_its_newest(store: Store) -> None:
    ResultWriter(store).save([failing(NOW + number) for number in range(12)] + [failing(NOW, "shop/db/tcp")])
    assert prune_surplus(store, most=5) == 7
    kept = load_evidence(store, ["shop/web/http"], 0, NOW + 100, limit=50)
    assert [one.slot_ms - NOW for one in kept] == [11, 10, 9, 8, 7]
    assert len(load_evidence(store, ["shop/db/tcp"], 0, NOW + 100)) == 1
    assert prune_surplus(store, most=5) == 0
