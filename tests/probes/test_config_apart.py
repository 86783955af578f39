"""What another process has read is what this one would have read, and so are its complaints."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from probes.config import load_config
from probes.config_apart import load_config_apart
from probes.document import ConfigError
from probes.probe import kinds
from probes.target import Check, Estate

BAD = Path(__file__).parent / "testdata" / "bad"
EVERY_KIND = """
location: here
worker: {threads: 3}
sites:
  s:
    targets:
      plain:
        tier: web
        tags: [a, b]
        needs: [rest]
        checks:
          - {kind: http, url: "http://127.0.0.1/", interval: 7s}
          - kind: http
            name: full
            url: "https://127.0.0.1/x?y=1"
            headers: {X-Token: "${env:BW_TOKEN}"}
            auth: {username: u, password: "${env:BW_TOKEN}"}
            allow_addresses: [169.254.1.1]
            nodes: ["127.0.0.1:81", "127.0.0.1:82"]
            compare: [etag]
            expect:
              status: [2xx, 404]
              body: {regex: "a+b", json: [{path: "$.a", equals: 1}]}
              headers: {server: {contains: nginx}}
              latency: {degraded: {above: 800ms, for: 2 of 3}}
          - kind: journey
            url: "http://127.0.0.1/"
            steps:
              - {name: one, request: {url: /a, json: {a: 1}}, extract: {token: {json: "$.t"}}}
              - {name: two, request: {url: "/{{token}}"}}
          - {kind: metrics, url: "http://127.0.0.1/m", values: {up: "$.up"}, ratios: {h: {hits: "$.h", misses: "$.m"}}}
      rest:
        tier: database
        checks:
          - {kind: dns, name: example.org}
          - {kind: heartbeat, token: 0123456789abcdef, period: 1d}
          - {kind: host}
          - {kind: memcached, host: 127.0.0.1}
          - {kind: mysql, url: "mysql://u:${env:BW_TOKEN}@127.0.0.1/x"}
          - {kind: postgresql, url: "postgresql://u@127.0.0.1/x"}
          - {kind: redis, url: "redis://127.0.0.1"}
          - {kind: sqlite, path: /tmp/x.db}
          - {kind: tcp, host: 127.0.0.1, port: 80}
          - {kind: tls, host: 127.0.0.1, port: 443}
"""


def plain(check: Check) -> tuple[Check, type, object, object]:
    """Probes are equal only to themselves; what they are made of is compared."""
    return replace(check, probe=None), type(check.probe), check.probe.options, check.probe.expect  # type: ignore[arg-type]


def test_every_kind_comes_over_as_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BW_TOKEN", "swordfish-12")
    path = tmp_path / "backwatch.yaml"
    path.write_text(EVERY_KIND)
    here, apart = load_config(path).slim(), load_config_apart(path)
    assert {check.kind for check in here.estate.checks.values()} == set(kinds())
    assert [plain(check) for check in apart.estate.checks.values()] == [
        plain(check) for check in here.estate.checks.values()
    ]
    assert (apart.estate.targets, apart.estate.sites) == (here.estate.targets, here.estate.sites)
    assert replace(apart, estate=Estate()) == replace(here, estate=Estate())
    assert "swordfish-12" in apart.document.secrets
    full = apart.estate.checks["s/plain/full"].probe
    assert full.options.model_fields_set == here.estate.checks["s/plain/full"].probe.options.model_fields_set
    assert full.expect.body.mismatch_of(b'{"a": 2}')
    assert full.options.auth.password.get_secret_value() == "swordfish-12"


@pytest.mark.parametrize("name", ["many_mistakes", "not_there"])
def test_mistakes_are_told_in_the_same_words(name: str) -> None:
    path = BAD / f"{name}.yaml"
    with pytest.raises(ConfigError) as here:
        load_config(path)
    with pytest.raises(ConfigError) as apart:
        load_config_apart(path)
    assert apart.value.problems == here.value.problems
    assert str(apart.value) == str(here.value)


def test_a_relative_path_stands_in_the_complaint_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("yaml.py").write_text("raise SystemExit(3)")  # no module of ours, whatever its name
    Path("own.yaml").write_text("sitez: {}\n")
    with pytest.raises(ConfigError, match=re.escape("own.yaml:1: sitez: unknown key 'sitez'")) as told:
        load_config_apart(Path("own.yaml"))
    assert told.value.problems[0].file == "own.yaml"


def test_what_did_not_change_is_what_was_there_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BW_TOKEN", "swordfish-12")
    path = tmp_path / "backwatch.yaml"
    path.write_text(EVERY_KIND)
    before = load_config_apart(path)
    path.write_text(EVERY_KIND.replace("interval: 7s", "interval: 8s").replace("port: 443", "port: 444"))
    monkeypatch.setenv("BW_TOKEN", "swordfish-13")
    after = load_config_apart(path, before=before)
    changed = {
        check_id for check_id, check in after.estate.checks.items() if check is not before.estate.checks[check_id]
    }
    assert changed == {"s/plain/http", "s/plain/full", "s/rest/mysql", "s/rest/tls"}
    assert after.estate.checks["s/rest/tls"].probe.options.port == 444
    assert all(target is before.estate.targets[name] for name, target in after.estate.targets.items())
    assert list(after.estate.checks) == list(before.estate.checks)


def test_what_is_gone_is_gone_and_what_is_new_is_there(tmp_path: Path) -> None:
    path = tmp_path / "backwatch.yaml"
    checks = [f"{{kind: tcp, name: c{n}, host: 127.0.0.1, port: {n + 1}}}" for n in range(250)]
    text = "sites: {s: {targets: {t: {tier: web, checks: [%s]}}}}\n"
    path.write_text(text % ", ".join(checks[:-5]))
    before = load_config_apart(path)
    path.write_text(text % ", ".join(checks[7:]))
    after = load_config_apart(path, before=before)
    assert list(after.estate.checks) == [f"s/t/c{n}" for n in range(7, 250)]
    assert after.estate.targets["s/t"].checks == tuple(after.estate.checks)
    assert all(after.estate.checks[f"s/t/c{n}"] is before.estate.checks[f"s/t/c{n}"] for n in range(7, 245))


def test_a_reader_that_ends_without_a_word_is_an_error_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(OSError, match="ended with status 1"):
        load_config_apart(tmp_path / "backwatch.yaml")
