"""The commands of probing: what they print, what they write, and the code they end with."""

import json
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from probes import logs
from probes.adhoc import AdHocError, check_of_url
from probes.commands import commands
from probes.commands.asking import exit_code
from probes.config import load_config
from probes.config_schema import json_schema
from probes.result import Status
from probes.starter import KNOWN, write_starter
from probes.store.database import open_database
from probes.store.schema import upgrade

COMMANDS = {command.name: command for command in commands}
KEYS = ["check", "site", "target", "tier", "kind", "location", "slot", "started", "status", "reason", "message"]
KEYS += ["duration_s", "code", "phases", "metrics"]


class Page(BaseHTTPRequestHandler):
    """200 for everything but /gone, and /moved, which is somewhere else now."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.send_response({"/gone": 404, "/moved": 301}.get(path, 200))
        if path == "/moved":
            self.send_header("Location", "/here?token=CANARY&page=2")
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BACKWATCH_CONFIG", "BACKWATCH_DATA"):
        monkeypatch.delenv(name, raising=False)


def run(name: str, *words: str) -> Result:
    result = CliRunner().invoke(COMMANDS[name], words)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def configure(site: str, path: Path = Path("backwatch.yaml"), **more: Any) -> Path:
    checks = [
        {"kind": "http", "url": f"{site}/", "expect": {"status": 200}},
        {"kind": "http", "name": "gone", "url": f"{site}/gone", "expect": {"status": 200}},
        {"kind": "http", "name": "slow", "url": f"{site}/", "expect": {"latency": {"degraded": "1ms"}}},
    ]
    targets = {"web": {"tier": "web", "checks": checks}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"sites": {"shop": {"targets": targets}}, **more}))
    return path


def test_a_url_that_answers_is_up(site: str) -> None:
    result = run("probe", f"{site}/")
    assert result.exit_code == 0
    assert "up" in result.output
    assert site in result.output


def test_one_json_object_a_line_in_the_shape_of_the_contract(site: str) -> None:
    result = run("probe", "--json", f"{site}/", "tcp://127.0.0.1:1")
    lines = {answer["kind"]: answer for answer in map(json.loads, result.output.splitlines())}
    assert result.exit_code == 2
    assert [list(answer) for answer in lines.values()] == [KEYS, KEYS]
    assert lines["http"]["status"] == "up"
    assert lines["http"]["code"] == 200
    assert lines["http"]["started"].endswith("Z")
    assert set(lines["http"]["phases"]) == {"dns_s", "connect_s", "tls_s", "ttfb_s", "transfer_s"}
    assert (lines["tcp"]["status"], lines["tcp"]["reason"]) == ("down", "tcp_refused")


def test_hops_of_a_redirect_are_told_one_by_one(site: str) -> None:
    urls = [f"{site}/moved", f"{site}/here?token=***&page=2"]
    answer = json.loads(run("probe", "--json", f"{site}/moved").output)
    assert list(answer) == [*KEYS, "hops"]
    assert [(hop["url"], hop["code"], hop["address"]) for hop in answer["hops"]] == [
        (urls[0], 301, "127.0.0.1"),
        (urls[1], 200, "127.0.0.1"),
    ]
    assert sum(hop["duration_s"] for hop in answer["hops"]) == pytest.approx(answer["duration_s"])
    assert all(hop["phases"]["ttfb_s"] > 0 for hop in answer["hops"])
    lines = run("probe", f"{site}/moved").output.splitlines()
    assert len(lines) == 3
    assert f"hop 1: 301 {urls[0]} from 127.0.0.1, " in lines[1]
    assert f"hop 2: 200 {urls[1]} from 127.0.0.1, " in lines[2]
    assert "ms (connect " in lines[2]


def test_a_configured_check_is_asked_by_its_id(site: str) -> None:
    configure(site)
    assert run("probe", "shop/web/http").exit_code == 0
    result = run("probe", "shop/web/gone")
    assert result.exit_code == 2
    assert "http_status" in result.output


@pytest.mark.parametrize(("word", "n"), [("shop", 3), ("shop/web", 3), ("*/gone", 1), ("shop/web/http", 1)], ids=str)
def test_checks_are_chosen_by_beginning_and_pattern(site: str, word: str, n: int) -> None:
    configure(site)
    assert len(run("probe", "--json", word).output.splitlines()) == n


def test_without_words_every_check_is_asked(site: str) -> None:
    configure(site)
    assert len(run("probe", "--json").output.splitlines()) == 3


def test_an_unknown_check_is_refused_with_a_suggestion(site: str) -> None:
    configure(site)
    result = run("probe", "shop/web/htp")
    assert result.exit_code == 3, "not down: nothing was asked"
    assert "shop/web/http" in result.output


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([Status.UP], 0),
        ([Status.UP, Status.DEGRADED], 1),
        ([Status.UNKNOWN, Status.DEGRADED], 3),
        ([Status.UNKNOWN, Status.DOWN, Status.UP], 2),
        ([], 3),
    ],
)
def test_the_worst_of_all_is_the_exit_code(statuses: list[Status], code: int) -> None:
    assert exit_code(statuses) == code


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://shop.example/", "http"),
        ("https://shop.example/", "http"),
        ("tcp://shop.example:25", "tcp"),
        ("tls://shop.example:443", "tls"),
        ("dns://shop.example", "dns"),
        ("dns://192.0.2.53/shop.example?type=mx", "dns"),
        ("postgresql://probe@db.example/shop", "postgresql"),
        ("postgres://probe@db.example/shop", "postgresql"),
        ("mysql://probe@db.example/shop", "mysql"),
        ("redis://cache.example:6379", "redis"),
        ("memcached://cache.example:11211", "memcached"),
        ("sqlite:////var/lib/shop.db", "sqlite"),
    ],
)
def test_the_scheme_names_the_kind(url: str, kind: str) -> None:
    assert check_of_url(url).kind == kind


def test_a_dns_url_may_name_the_server_to_ask() -> None:
    options = check_of_url("dns://192.0.2.53:5353/shop.example?type=mx").probe.options
    assert (options.name, options.server, options.port, options.type) == ("shop.example", "192.0.2.53", 5353, "MX")


@pytest.mark.parametrize("url", ["gopher://x", "redis://u:hunter22@", "http://"])
def test_a_url_of_no_use_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(AdHocError) as raised:
        check_of_url(url)
    assert "hunter22" not in str(raised.value)


def test_a_password_in_a_url_is_not_printed() -> None:
    result = run("probe", "--json", "--timeout", "2", "redis://probe:hunter22@127.0.0.1:1/0")
    assert result.exit_code == 2
    assert "hunter22" not in result.output


def test_a_sqlite_file_is_asked_by_url(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE a (b)")
    database.close()
    assert run("probe", f"sqlite:///{tmp_path}/shop.db").exit_code == 0
    assert run("probe", "sqlite:///shop.db").exit_code == 0


def test_without_a_configuration_it_is_said_where_one_was_looked_for() -> None:
    result = run("probe")
    assert result.exit_code == 3
    assert "no configuration found" in result.output
    assert "backwatch init" in result.output


def test_the_configuration_of_the_demo_is_found_and_named(site: str) -> None:
    configure(site, Path("backwatch-demo/backwatch.yaml"))
    result = CliRunner().invoke(COMMANDS["probe"], ["shop/web/http"])
    assert result.exit_code == 0
    assert "using backwatch-demo/backwatch.yaml" in result.stderr


def test_the_option_wins_over_the_environment_and_that_over_the_folder(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(site)
    configure(site, Path("one.yaml"), location="one")
    configure(site, Path("two.yaml"), location="two")
    assert "location: " not in run("config", "show").output
    monkeypatch.setenv("BACKWATCH_CONFIG", "one.yaml")
    assert "location: one" in run("config", "show").output
    assert "location: two" in run("config", "show", "-c", "two.yaml").output


def test_a_broken_configuration_is_told_in_full() -> None:
    Path("backwatch.yaml").write_text("sites:\n  shop: {targets: {web: {tier: wep}, db: {teir: database}}}\nspeed: 3\n")
    result = run("config", "check")
    assert result.exit_code == 2
    for said in ("tier", "teir", "speed", "backwatch.yaml:2", "backwatch.yaml:3"):
        assert said in result.output


def test_a_sound_configuration_is_counted(site: str) -> None:
    configure(site)
    result = run("config", "check")
    assert result.exit_code == 0
    assert "1 site, 1 target, 3 checks" in result.output


def test_show_fills_in_references_and_masks_secrets(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", f"{site}/from-the-environment")
    monkeypatch.setenv("SHOP_CACHE", "redis://probe:hunter22@127.0.0.1:6379")
    checks = [{"kind": "http", "url": "${env:SHOP_URL}"}, {"kind": "redis", "url": "${env:SHOP_CACHE}"}]
    value = {"sites": {"shop": {"targets": {"web": {"tier": "web", "checks": checks}}}}}
    Path("backwatch.yaml").write_text(yaml.safe_dump({**value, "database": "postgresql://bw:swordfish@db/bw"}))
    for words in ((), ("--json",)):
        result = run("config", "show", *words)
        assert result.exit_code == 0
        assert "hunter22" not in result.output
        assert "swordfish" not in result.output


def test_a_starter_is_written_once_and_for_its_owner_only() -> None:
    result = run("init")
    assert result.exit_code == 0
    assert stat.S_IMODE(Path("backwatch.yaml").stat().st_mode) & 0o137 == 0
    before = Path("backwatch.yaml").read_text()
    again = run("init")
    assert again.exit_code == 2
    assert "exists already" in again.output
    assert Path("backwatch.yaml").read_text() == before
    assert run("config", "check").exit_code == 0


@pytest.mark.parametrize("services", [(), KNOWN], ids=["nothing found", "everything found"])
def test_a_starter_is_a_sound_configuration(services: tuple[Any, ...], tmp_path: Path) -> None:
    path = tmp_path / "starter.yaml"
    path.write_text(write_starter(services))
    assert set(load_config(path).estate.targets) == {*(f"main/{one.name}" for one in services), "main/machine"}


def test_the_examples_in_the_starter_are_sound_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKUP_TOKEN", "HOOK_SECRET"):
        monkeypatch.setenv(name, "a-long-enough-word-for-a-secret")
    (tmp_path / "smtp").write_text("hunter22")
    text = write_starter([service for service in KNOWN if service.name == "postgresql"])
    head, _, rest = text.partition("      # shop:\n")
    sample = "\n".join(line.replace("# ", "", 1) for line in rest.splitlines() if "# A job" not in line)
    sample = sample.replace("Who is told.", "# Who is told.")
    path = tmp_path / "starter.yaml"
    path.write_text(f"{head}      shop:\n{sample}\n")
    assert {"main/shop/http", "main/backup/heartbeat"} <= set(load_config(path).estate.checks)


def test_the_schema_takes_what_the_loader_takes(site: str) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for text in (write_starter(KNOWN), configure(site).read_text()):
        assert list(validator.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value.update(speed=3),
        lambda value: value["sites"]["shop"]["targets"]["web"].update(tier="wep"),
        lambda value: value["sites"]["shop"]["targets"]["web"]["checks"].append({"kind": "htp"}),
        lambda value: value["sites"]["shop"]["targets"]["web"]["checks"].append({"kind": "http"}),
        lambda value: value["sites"]["shop"]["targets"]["web"]["checks"][0].update(intervall="5s"),
    ],
    ids=["unknown section", "unknown tier", "unknown kind", "missing url", "unknown key"],
)
def test_the_schema_refuses_mistakes(site: str, spoil: Any) -> None:
    value = yaml.safe_load(configure(site).read_text())
    spoil(value)
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(value))


def test_the_schema_command_prints_it() -> None:
    assert json.loads(run("config", "schema").output)["$schema"].startswith("https://json-schema.org/")


def test_a_store_is_made_backed_up_and_checked(site: str) -> None:
    configure(site)
    assert "there is no store" in run("db", "check").output
    assert "none →" in run("db", "upgrade").output
    assert "already" in run("db", "upgrade").output
    assert "in order" in run("db", "check").output
    assert run("db", "backup", "copy.db").exit_code == 0
    assert Path("copy.db").stat().st_size > 0
    again = run("db", "backup", "copy.db")
    assert again.exit_code == 2
    assert "exists already" in again.output


def test_a_damaged_store_is_told_with_exit_code_1(site: str) -> None:
    config = load_config(configure(site))
    upgrade(config.database)
    engine = open_database(config.database)
    with engine.connect() as connection:
        connection.exec_driver_sql("INSERT INTO state (series_id, slot_ms, status, since_ms) VALUES (77, 1, 0, 1)")
        connection.commit()
    engine.dispose()
    assert run("db", "check").exit_code == 1


def test_a_second_worker_on_the_same_store_says_who_has_it(site: str) -> None:
    from probes.store.lock import WorkerLock

    config = load_config(configure(site))
    with WorkerLock(config.database):
        result = run("worker")
    assert result.exit_code == 2
    assert f"pid {os.getpid()}" in result.output


def test_secrets_are_masked_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logs.set_up(as_json=True)
        logs.mask(["hunter22"])
        try:
            raise RuntimeError("no hunter22 for you")
        except RuntimeError:
            logging.getLogger("probes").exception("cannot log in with %s", "hunter22", extra={"check": "a/b/c"})
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
    (line,) = capsys.readouterr().err.splitlines()
    assert "hunter22" not in line
    said = json.loads(line)
    assert (said["level"], said["check"], said["message"]) == ("error", "a/b/c", "cannot log in with ***")
    assert "RuntimeError" in said["traceback"]
