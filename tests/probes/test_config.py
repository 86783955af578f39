"""A configuration is validated as a whole; every mistake says where it stands and what to write instead."""

import itertools
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.config import Config, load_config
from probes.document import ConfigError, Problem
from probes.expectation import read_expectations
from probes.probe import Expect, Metric, Probe, kind_named, kinds
from probes.result import Status
from probes.sections import CheckKeys
from probes.target import Limit, Tier

DATA = Path(__file__).parent / "testdata"
BAD = sorted((DATA / "bad").glob("*.yaml"))


def written(folder: Path, text: str, name: str = "backwatch.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems_of(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return caught.value.problems


def check(folder: Path, keys: str, defaults: str = "{}") -> Config:
    """A configuration of one check at 127.0.0.1."""
    text = (
        f"defaults: {defaults}\n"
        f"sites: {{s: {{targets: {{t: {{tier: app, checks: [{{kind: http, url: 'http://127.0.0.1/'{keys}}}]}}}}}}}}"
    )
    return load_config(written(folder, text))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_mistake_is_told_with_its_place_and_nothing_else_is(path: Path) -> None:
    lines = path.read_text().splitlines()
    expected = [line.removeprefix("# expects: ") for line in lines if line.startswith("# expects: ")]
    problems = problems_of(path)
    told = [str(problem) for problem in problems]
    assert all(any(words in text for text in told) for words in expected), told
    assert len(told) == len(expected), told
    assert all(problem.file == str(path) and problem.line > len(expected) - 1 for problem in problems)


def test_problems_stand_in_the_order_of_their_lines() -> None:
    lines = [problem.line for problem in problems_of(DATA / "bad" / "many_mistakes.yaml")]
    assert lines == sorted(lines)
    assert len(set(lines)) >= 5


def test_the_example_of_the_contract_becomes_an_estate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DB", "postgresql://probe:S3cr3tCanary@127.0.0.1/shop")
    config = load_config(DATA / "good" / "contract.yaml")
    web, db = config.estate.targets["shop/web"], config.estate.targets["shop/db"]
    assert (web.tier, web.needs) == (Tier.WEB, ("shop/app",))
    assert tuple(config.estate.needed_by("shop/web")) == ("shop/app", "shop/db", "shop/cache")
    http = config.estate.checks["shop/web/http"]
    assert (http.interval_s, http.timeout_s, http.retry_interval_s) == (30, 10, 5)
    assert (http.fail_after, http.recover_after, http.notify) == (3, 2, ("ops",))
    assert Limit("duration_s", Status.DEGRADED, 0.8, "above") in http.limits
    assert Limit("certificate_days_left", Status.DOWN, 3, "below") in http.limits
    (hit_ratio,) = config.estate.checks["shop/cache/redis"].limits
    assert (hit_ratio.worse, hit_ratio.bound, hit_ratio.times, hit_ratio.of) == ("below", 0.85, 3, 5)
    assert config.estate.checks["shop/payments/http"].status_page == "https://status.pay.example"
    assert (config.retention.raw_s, config.retention.daily_s) == (14 * 86400, 730 * 86400)
    assert [check.id for check in config.estate.checks_of(db.id)] == ["shop/db/postgresql"]


def test_no_secret_stands_in_a_repr_or_a_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DB", "postgresql://probe:S3cr3tCanary@127.0.0.1/shop")
    config = load_config(DATA / "good" / "contract.yaml")
    probes = [check.probe for check in config.estate.checks.values()]
    said = repr(config) + repr(config.document) + repr(config.estate) + " ".join(probe.describe() for probe in probes)
    assert "S3cr3tCanary" not in said
    assert "S3cr3tCanary" in config.document.secrets
    assert "not-a-real-one" in config.document.secrets


@pytest.mark.parametrize("length", [12, 60, 1000])
def test_no_secret_stands_in_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setenv("CANARY", "S3cr3tCanary".ljust(length, "x"))
    text = (
        "database: 'oracle+${env:CANARY}://u:S3cr3tCanary@h/'\ndefaults: {interval: '${env:CANARY}'}\n"
        "sites: {s: {targets: {t: {tier: '${env:CANARY}', needs: ['${env:CANARY}'], "
        "checks: [{kind: '${env:CANARY}'},"
        "{kind: http, url: 'x://${env:CANARY}', method: '${env:CANARY}', "
        "expect: {latency: {down: '${env:CANARY}'}}}]}}}}"
    )
    problems = problems_of(written(tmp_path, text))
    assert len(problems) >= 6
    assert "S3cr3tCanary" not in "\n".join(map(repr, problems))


def test_a_short_interval_pulls_the_default_timeout_along(tmp_path: Path) -> None:
    (found,) = check(tmp_path, ", interval: 2s").estate.checks.values()
    assert (found.timeout_s, found.retry_interval_s) == (2, 2)


def test_a_check_overrides_the_defaults(tmp_path: Path) -> None:
    config = check(
        tmp_path, ", fail_after: 1, notify: [], tags: vip", "{interval: 1m, fail_after: 9, notify: ops, timeout: 9s}"
    )
    (found,) = config.estate.checks.values()
    assert (found.interval_s, found.timeout_s, found.fail_after) == (60, 9, 1)
    assert (found.notify, found.tags) == ((), ("vip",))


@pytest.mark.parametrize(
    ("expect", "limits"),
    [
        ("{latency: {down: 800ms}}", [("duration_s", "down", 0.8, "above", 3, 5)]),
        ("{ttfb_s: {degraded: 0.5}}", [("ttfb_s", "degraded", 0.5, "above", 3, 5)]),
        ("{size_bytes: {degraded: 2GB}}", [("size_bytes", "degraded", 2e9, "above", 3, 5)]),
        ("{size_bytes: {down: {below: 1KiB}}}", [("size_bytes", "down", 1024, "below", 3, 5)]),
        ("{certificate: {days_left: {down: 3d}}}", [("certificate_days_left", "down", 3, "below", 3, 5)]),
        (
            "{latency: {degraded: {above: 80%, for: 1 of 1}, down: {above: 2}}}",
            [("duration_s", "degraded", 0.8, "above", 1, 1), ("duration_s", "down", 2, "above", 3, 5)],
        ),
    ],
)
def test_limits_are_read_in_the_units_people_write(
    tmp_path: Path, expect: str, limits: list[tuple[str, str, float, str, int, int]]
) -> None:
    (found,) = check(tmp_path, f", expect: {expect}").estate.checks.values()
    told = [(limit.metric, limit.level, limit.bound, limit.worse, limit.times, limit.of) for limit in found.limits]
    assert told == [(*limit[:2], pytest.approx(limit[2]), *limit[3:]) for limit in limits]


def test_an_option_called_name_stays_with_its_kind(tmp_path: Path) -> None:
    text = (
        "sites: {s: {targets: {t: {tier: web, checks: "
        "[{kind: dns, name: a.example}, {kind: dns, id: mail, name: b.example, type: MX}]}}}}"
    )
    checks = load_config(written(tmp_path, text)).estate.checks
    assert list(checks) == ["s/t/dns", "s/t/mail"]
    assert checks["s/t/mail"].probe.options.name == "b.example"


def test_needs_reach_into_other_sites(tmp_path: Path) -> None:
    text = (
        "sites: {s: {targets: {a: {tier: app, needs: [x/a, b], soft_needs: x/a}, b: {tier: app}}}, "
        "x: {targets: {a: {tier: app}}}}"
    )
    target = load_config(written(tmp_path, text)).estate.targets["s/a"]
    assert (target.needs, target.soft_needs) == (("x/a", "s/b"), ("x/a",))


def test_soft_needs_may_go_in_a_circle(tmp_path: Path) -> None:
    text = "sites: {s: {targets: {a: {tier: app, needs: [b]}, b: {tier: app, soft_needs: [a]}}}}"
    assert load_config(written(tmp_path, text)).estate.targets["s/b"].soft_needs == ("s/a",)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda edge: edge[0] != edge[1]), max_size=14))
def test_a_circle_is_found_exactly_where_one_is(
    tmp_path_factory: pytest.TempPathFactory, edges: list[tuple[int, int]]
) -> None:
    needs: dict[str, list[str]] = {f"t{node}": [] for node in range(7)}
    for one, other in edges:
        needs[f"t{one}"].append(f"t{other}")
    targets = ", ".join(f"{name}: {{tier: app, needs: [{', '.join(needed)}]}}" for name, needed in needs.items())
    path = written(tmp_path_factory.mktemp("circle"), f"sites: {{s: {{targets: {{{targets}}}}}}}")
    try:
        load_config(path)
        told = ""
    except ConfigError as error:
        told = error.problems[0].message
    left = dict(needs)
    while free := [node for node, needed in left.items() if not set(needed) & left.keys()]:
        for node in free:
            del left[node]
    assert bool(told) == bool(left)
    if told:
        circle = [node.removeprefix("s/") for node in told.removeprefix("needs go in a circle: ").split(" → ")]
        assert circle[0] == circle[-1]
        assert all(after in needs[before] for before, after in itertools.pairwise(circle))


@pytest.mark.parametrize(
    ("text", "database"),
    [
        ("", "sqlite:///{data}/backwatch.db"),
        ("database: sqlite:///watch.db", "sqlite:///{data}/watch.db"),
        ("database: sqlite:////var/lib/watch.db", "sqlite:////var/lib/watch.db"),
        ("database: postgresql://u:p%40ss@h:1/d", "postgresql+psycopg://u:p%40ss@h:1/d"),
        ("database: postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
    ],
    ids=["none", "relative", "absolute", "server", "server with driver"],
)
def test_the_store_lies_in_the_data_folder_unless_it_is_elsewhere(tmp_path: Path, text: str, database: str) -> None:
    path = written(tmp_path, text)
    assert load_config(path).database == database.format(data=tmp_path / "backwatch-data")
    assert load_config(path, data_dir=tmp_path / "x").database == database.format(data=tmp_path / "x")


def test_a_missing_driver_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds()["postgresql"], "driver", "no_such_driver")
    text = "sites: {s: {targets: {t: {tier: database, checks: [{kind: postgresql, url: 'postgresql://u@h/d'}]}}}}"
    (problem,) = problems_of(written(tmp_path, text))
    assert problem.suggestion == "pip install 'backwatch[postgresql]'"


def test_a_folder_is_merged_by_site(tmp_path: Path) -> None:
    written(
        tmp_path, "defaults: {interval: 10s}\nsites: {one: {targets: {a: {tier: app}}}}\nroutes: [{x: 1}]", "a.yaml"
    )
    written(tmp_path, "sites: {two: {targets: {b: {tier: app, needs: [one/a]}}}}\nroutes:\n  - {y: 2}", "b.yml")
    written(tmp_path, "not: read", "notes.txt")
    config = load_config(tmp_path)
    assert config.estate.targets["two/b"].needs == ("one/a",)
    assert config.document.value["routes"] == [{"x": 1}, {"y": 2}]
    problem = config.document.problem(("routes", 1, "y"), "wrong")
    assert (Path(problem.file).name, problem.line, problem.path) == ("b.yml", 3, "routes[1].y")


def test_a_site_or_section_in_two_files_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "defaults: {interval: 10s}\nsites: {one: {targets: {}}}", "a.yaml")
    written(tmp_path, "sites:\n  one: {targets: {}}\ndefaults: {interval: 20s}", "b.yaml")
    told = [str(problem) for problem in problems_of(tmp_path)]
    assert any("b.yaml:2: sites.one: site 'one' stands in two files (first in " in text for text in told)
    assert any("b.yaml:3: defaults: key 'defaults' stands in two files" in text for text in told)


def test_a_folder_without_files_and_a_missing_file_are_told(tmp_path: Path) -> None:
    assert "has no *.yaml files" in problems_of(tmp_path)[0].message
    assert "cannot be read: No such file" in problems_of(tmp_path / "nowhere.yaml")[0].message


def test_the_digest_follows_content_and_what_it_refers_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one-value\n")
    path = written(tmp_path, 'notifiers: {a: {secret: "${file:secret}", x: 1}}')
    first = load_config(path).digest
    written(tmp_path, '# a remark\nnotifiers:\n  a: {x: 1, secret: "${file:secret}"}')
    assert load_config(path).digest == first
    secret.write_text("two-value\n")
    assert load_config(path).digest != first


def test_a_half_written_file_is_an_error_at_any_length(tmp_path: Path) -> None:
    whole = (DATA / "good" / "contract.yaml").read_text().replace("${env:SHOP_DB}", "postgresql://u@h/d")
    load_config(written(tmp_path, whole))
    refused: list[ConfigError] = []
    for length in range(0, len(whole), 97):
        path = written(tmp_path, whole[:length])
        try:
            load_config(path)
        except ConfigError as error:
            refused.append(error)
    assert len(refused) > 10
    assert all(problem.line > 0 for error in refused for problem in error.problems)


def test_a_configuration_is_found_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(DATA / "bad" / "many_mistakes.yaml", tmp_path / "backwatch.yaml")
    monkeypatch.chdir(tmp_path)
    assert problems_of(Path("backwatch.yaml"))[0].file == "backwatch.yaml"
    written(tmp_path, "sites: {}")
    assert load_config(Path("backwatch.yaml")).data_dir == tmp_path / "backwatch-data"


@pytest.mark.parametrize("word", list(kinds()))
def test_a_kind_takes_no_key_that_every_check_has(word: str) -> None:
    # `name` is the one exception: a kind may use it, then `id` names the check.
    assert set(kinds()[word].Options.model_fields) & set(CheckKeys.model_fields) <= {"name"}


def test_an_expectation_and_a_metric_of_one_name_are_told_apart(tmp_path: Path) -> None:
    class Records(Expect):
        answers: tuple[str, ...] = ()

    class Asker(Probe):
        kind, Expect, metrics = "asker", Records, {"answers": Metric("records", "below")}

    document = check(tmp_path, "").document
    exact = read_expectations(document, (), {"answers": ["192.0.2.1"]}, Asker)
    bound = read_expectations(document, (), {"answers": {"down": 2}}, Asker)
    assert (exact.own, exact.limits) == ({"answers": ["192.0.2.1"]}, [])
    assert (bound.own, bound.limits) == ({}, [Limit("answers", Status.DOWN, 2, "below")])


def test_a_family_of_metrics_takes_limits_on_its_members(tmp_path: Path) -> None:
    text = (
        "sites: {s: {targets: {t: {tier: app, checks: [{kind: metrics, url: 'http://127.0.0.1/', format: json, "
        "values: {queue_length: $.n}, expect: {queue_length: {degraded: 10, down: {above: 100}}}}]}}}}"
    )
    (found,) = load_config(written(tmp_path, text)).estate.checks.values()
    assert [(limit.metric, limit.bound) for limit in found.limits] == [("queue_length", 10), ("queue_length", 100)]


def test_checks_that_expect_the_same_share_it_and_others_do_not(tmp_path: Path) -> None:
    said = [
        "{status: 200, body: fine}",
        "{body: fine, status: 200}",
        "{status: '200', body: fine}",
        "{status: 201}",
    ] * 2
    checks = ", ".join(
        f"{{kind: http, name: c{n}, url: 'http://127.0.0.1/', expect: {expect}}}" for n, expect in enumerate(said)
    )
    config = load_config(written(tmp_path, f"sites: {{s: {{targets: {{t: {{tier: app, checks: [{checks}]}}}}}}}}"))
    expects = [check.probe.expect for check in config.estate.checks.values()]
    assert all(expects[n] is expects[n + 4] for n in range(4))
    assert expects[0] == expects[1] == expects[2]
    assert expects[3].status == ("201",)


def test_a_slim_configuration_keeps_secrets_and_estate_and_no_text(tmp_path: Path) -> None:
    config = check(tmp_path, ", auth: {scheme: bearer, token: not-to-be-seen}")
    slim = config.slim()
    assert slim.document.secrets == config.document.secrets != frozenset()
    assert slim.estate is config.estate
    assert slim.digest == config.digest
    assert slim.document.value == {}


def test_a_kind_is_found_by_its_word_alone() -> None:
    assert {word: kind_named(word) for word in kinds()} == dict(kinds())
    assert kind_named("no_such_kind") is None
    assert kind_named("not a word") is None
