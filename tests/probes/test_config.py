"""A configuration is read safely and as a whole; every mistake says where it stands and what to write instead."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probes.check_config import parse_bound, parse_times
from probes.needs import find_cycle

from probes.config import load_config
from probes.document import ConfigError, read_document
from probes.result import Status
from probes.target import Limit, Tier

DATA = Path(__file__).parent / "testdata"
BAD = sorted((DATA / "bad").glob("*.yaml"))


def written(folder: Path, text: str, name: str = "backwatch.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_mistake_is_named_with_its_place(path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# expects: ")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert expected in str(caught.value)
    assert all(problem.file == str(path) and problem.line > 0 for problem in caught.value.problems)


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "defaults: {interval: soon}\n"
        "sites:\n  shop:\n    titel: Shop\n    targets:\n"
        "      web: {tier: wed, needs: [nothing]}\n"
        "      app: {tier: app, checks: [{kind: http, url: 'http://127.0.0.1/', retries: 3}]}\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert [problem.line for problem in caught.value.problems] == [1, 4, 6, 6, 7]


def test_a_full_example_becomes_an_estate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DB", "postgresql://probe:S3cr3tCanary@127.0.0.1/shop")
    config = load_config(DATA / "good" / "contract.yaml")
    web, db = config.estate.targets["shop/web"], config.estate.targets["shop/db"]
    assert (web.tier, web.needs) == (Tier.WEB, ("shop/app",))
    assert tuple(config.estate.needed_by("shop/web")) == ("shop/app", "shop/db", "shop/cache")
    http = config.estate.checks["shop/web/http"]
    assert (http.interval_s, http.timeout_s, http.fail_after, http.notify) == (30, 10, 3, ("ops",))
    assert Limit("duration_s", Status.DEGRADED, 0.8, "above") in http.limits
    assert Limit("certificate_days_left", Status.DOWN, 3, "below") in http.limits
    (hit_ratio,) = config.estate.checks["shop/cache/redis"].limits
    assert (hit_ratio.worse, hit_ratio.bound, hit_ratio.times, hit_ratio.of) == ("below", 0.85, 3, 5)
    assert (config.retention.raw_s, config.retention.daily_s) == (14 * 86400, 730 * 86400)
    assert "S3cr3tCanary" not in repr(config) + repr(db) + repr(
        [check.probe.describe() for check in config.estate.checks_of(db.id)]
    )
    assert any("S3cr3tCanary" in secret for secret in config.document.secrets)


def test_a_short_interval_pulls_the_default_timeout_along(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "sites: {s: {targets: {t: {tier: app, checks: [{kind: http, url: 'http://127.0.0.1/', interval: 2s}]}}}}",
    )
    (check,) = load_config(path).estate.checks.values()
    assert (check.timeout_s, check.retry_interval_s) == (2, 2)


def test_a_folder_is_merged_by_site_and_a_site_may_stand_once(tmp_path: Path) -> None:
    written(tmp_path, "defaults: {interval: 10s}\nsites: {one: {targets: {a: {tier: app}}}}", "a.yaml")
    written(tmp_path, "sites: {two: {targets: {b: {tier: app, needs: [one/a]}}}}", "b.yaml")
    assert load_config(tmp_path).estate.targets["two/b"].needs == ("one/a",)
    written(tmp_path, "sites:\n  one: {targets: {}}", "c.yaml")
    with pytest.raises(ConfigError, match=r"c\.yaml:2: sites\.one: stands in .*a\.yaml:2 already"):
        load_config(tmp_path)


def test_references_are_filled_in_and_kept_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    path = written(tmp_path, 'a: "${env:X}/${file:secret}/${env:Y:-fallback}"\nb: {password: in-the-open}')
    document = read_document(path, {"X": "from-env"})
    assert document.value["a"] == "from-env/from-a-file/fallback"
    assert {"from-env", "from-a-file", "in-the-open"} <= document.secrets


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("12:30:45", "12:30:45"),
        ("010", "010"),
        ("0.5", 0.5),
        ("1e3", 1000.0),
    ],
)
def test_words_mean_what_they_say(tmp_path: Path, text: str, value: object) -> None:
    assert read_document(written(tmp_path, f"key: {text}")).value["key"] == value


def test_an_alias_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match="anchors and aliases"):
        read_document(written(tmp_path, "\n".join(lines)))


def test_deep_nesting_and_large_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nested deeper"):
        read_document(written(tmp_path, "a: " + "[" * 3000 + "]" * 3000))
    with pytest.raises(ConfigError, match="larger than 5 MB"):
        read_document(written(tmp_path, "a: " + "x" * (6 << 20)))


def test_a_missing_file_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read.*backwatch init"):
        load_config(tmp_path / "nowhere.yaml")


def test_the_digest_follows_what_the_file_refers_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one-value")
    path = written(tmp_path, 'a: "${file:secret}"')
    first = read_document(path).digest
    assert read_document(path).digest == first
    secret.write_text("two-value")
    assert read_document(path).digest != first


@pytest.mark.parametrize(
    ("written", "metric", "bound"),
    [
        (0.8, "x", 0.8),
        ("80%", "x", 0.8),
        ("800ms", "duration_s", 0.8),
        ("2GB", "size_bytes", 2e9),
        ("21d", "a_days_left", 21),
    ],
)
def test_bounds_are_read_in_the_units_people_write(written: object, metric: str, bound: float) -> None:
    assert parse_bound(written, metric) == pytest.approx(bound)


@given(st.integers(1, 60), st.integers(1, 60))
def test_times_are_at_most_of(times: int, of: int) -> None:
    if times <= of:
        assert parse_times(f"{times} of {of}") == (times, of)
    else:
        with pytest.raises(ValueError, match="is not like"):
            parse_times(f"{times} of {of}")


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=20))
def test_a_cycle_is_found_exactly_where_one_is(edges: list[tuple[int, int]]) -> None:
    needs: dict[str, list[str]] = {str(node): [] for node in range(9)}
    for one, other in edges:
        needs[str(one)].append(str(other))
    cycle = find_cycle(needs)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(after in needs[before] for before, after in itertools.pairwise(cycle))
    else:
        left = dict(needs)
        while free := [node for node, needed in left.items() if not set(needed) & left.keys()]:
            for node in free:
                del left[node]
        assert not left
