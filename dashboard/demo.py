"""`backwatch demo`: the sample shop, an inbox, a made-up past, and everything of Backwatch around them."""

import json
import logging
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dashboard.running import own_children, prepare_store
from dashboard.supervisor import Child, Stopped, Supervisor
from probes.commands.finding import Refusal, load_with, whole_loader

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from probes.config import Config
    from probes.result import Result

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
SHOP_PORTS = 8
SHOP_ATTEMPTS = 3
FIRST_SHOP_PORT = 18080
# Where `python -m sample_targets break …` looks when it is told nothing (see its own help).
SHOP_DEFAULT = Path("/tmp/backwatch-shop")  # noqa: S108 - the shop sees to it that it is its owner's
SHOP_PATIENCE_S, READY_PATIENCE_S = 60.0, 90.0
_REFERENCE = re.compile(r"\$\{env:(\w+)(?::-([^}]*))?\}")
_LOG_BYTES = 5 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where one demo stands: its folders, ports and secrets; kept in its folder, so that it goes on with them."""

    port: int
    shop_data: str
    shop_port: int
    smtp_port: int
    hook_port: int
    hook_secret: str
    heartbeat_token: str


def run_demo(data: Path, port: int) -> None:
    """Hold the demo until Ctrl-C. Raises Refusal for what stands in its way."""
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(f"{data} cannot be made: {error.strerror}") from error
    journal = Journal(data / "demo.log")
    before = read_place(data)
    click.echo("Starting the sample shop …")
    try:
        with Supervisor(journal.hear) as supervisor:
            place = _open_shop(data, port, before, journal, supervisor)
            supervisor.start(_inbox(place, data))
            config = _configure(data, place, journal.shop, same=place == before)
            _prepare(config, supervisor)
            started_ms = time.time_ns() // 1_000_000
            for child in _own(config, data, port):
                supervisor.start(child)
            click.echo("Starting worker, alerts and dashboard …")
            ready = supervisor.wait(lambda: _is_ready(config, port, started_ms), READY_PATIENCE_S)
            click.echo(_guide(data, place, journal.path) if ready else f"not everything is up yet; see {journal.path}")
            supervisor.hold()
    except Stopped:
        pass
    click.echo("Stopped. The same command goes on with the same data.")


class Journal:
    """What the children say: into a file, not between the lines for the reader. Hears when the shop is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shop: dict[str, Any] = {}
        self.refusal = ""
        handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1)
        handler.setFormatter(logging.Formatter("%(message)s"))
        self._log = logging.getLogger("backwatch.demo")
        self._log.propagate = False
        self._log.handlers[:] = [handler]

    def hear(self, name: str, line: str) -> None:
        """A child's line."""
        if name == "shop" and line.startswith('{"ready"'):
            self.shop = json.loads(line)
            return
        if name == "shop" and line.startswith("sample_targets: "):
            self.refusal = line.removeprefix("sample_targets: ")
        self._log.info("%-9s | %s", name, line)


def choose_place(data: Path, port: int, before: Place | None, *, apart: bool = False) -> Place:
    """Ports that are free and folders that nobody uses; what was used before where it still can be.

    The shop's folder is where `break` finds it by itself, unless somebody has that already, or `apart`.
    """
    shop_data = os.environ.get("SHOP_DATA") or (before.shop_data if before else None)
    if shop_data is None:
        shop_data = str(SHOP_DEFAULT if _is_ours_to_use(SHOP_DEFAULT) else data / "shop")
    shop_data = str(Path(shop_data).absolute())
    if apart or _shop_runs(Path(shop_data)):
        shop_data = str(data / "shop")
        if _shop_runs(Path(shop_data)):
            raise Refusal(f"a demo runs in {data} already; stop it, or choose another folder with --data")
    taken: set[int] = {port}
    shop_port = _free_row(before.shop_port if before else FIRST_SHOP_PORT, taken)
    smtp_port = _free_port(before.smtp_port if before else 0, taken)
    hook_port = _free_port(before.hook_port if before else 0, taken)
    return Place(
        port,
        shop_data,
        shop_port,
        smtp_port,
        hook_port,
        before.hook_secret if before else "whsec_" + b64encode(secrets.token_bytes(24)).decode(),
        before.heartbeat_token if before else secrets.token_urlsafe(18),
    )


def read_place(data: Path) -> Place | None:
    """Where the demo of this folder stood before; None for a new one."""
    try:
        return Place(**json.loads((data / "place.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def fill_in(text: str, environment: Mapping[str, str]) -> str:
    """The text with every `${env:X}` and `${env:X:-default}` replaced by what the environment or the default says."""
    return _REFERENCE.sub(lambda found: environment.get(found[1], found[2] or ""), text)


def write_configuration(data: Path, place: Place, shop: Mapping[str, str]) -> str:
    """The shop's own configuration with this demo's ports, secrets and store, and nothing left to be filled in."""
    environment = {
        **shop,
        "BACKWATCH_SMTP_PORT": str(place.smtp_port),
        "BACKWATCH_HOOK_URL": f"http://{HOST}:{place.hook_port}/hook",
        "BACKWATCH_HOOK_SECRET": place.hook_secret,
        "SHOP_HEARTBEAT_TOKEN": place.heartbeat_token,
    }
    package = find_spec("sample_targets")
    if package is None or package.origin is None:
        raise Refusal("the package sample_targets is not installed beside this one")
    sample = (Path(package.origin).parent / "demo.yaml").read_text(encoding="utf-8")
    body = re.sub(r"\A(?:#.*\n|\s*\n)+", "", sample)
    head = (
        "# Written by `backwatch demo`. Change what you like: it is reloaded while everything runs, and kept until\n"
        "# the demo has to move to other ports.\n"
    )
    own: dict[str, Any] = {"database": f"sqlite:///{data / 'backwatch.db'}"}
    if not re.search(r"^alerts:", body, re.MULTILINE):
        own["alerts"] = {"external_url": f"http://{HOST}:{place.port}"}
    # JSON is YAML, and quotes whatever a path may hold.
    return (
        head
        + "".join(f"{key}: {json.dumps(value)}\n" for key, value in own.items())
        + "\n"
        + fill_in(body, environment)
    )


def _open_shop(data: Path, port: int, before: Place | None, journal: Journal, supervisor: Supervisor) -> Place:
    """A shop that runs. Another demo that starts at the same moment may take folder or ports first: then once more."""
    for attempt in range(SHOP_ATTEMPTS):
        place = choose_place(data, port, before, apart=attempt > 0)
        journal.refusal = ""
        supervisor.start(_shop(place))
        supervisor.wait(lambda: bool(journal.shop or journal.refusal), SHOP_PATIENCE_S)
        if journal.shop:
            kept = data / "place.json"
            kept.touch(mode=0o600)
            kept.write_text(json.dumps(asdict(place), indent=1) + "\n")
            return place
        supervisor.drop("shop")
    raise Refusal(f"the sample shop did not come up: {journal.refusal or f'see {journal.path}'}")


def _configure(data: Path, place: Place, shop: Mapping[str, Any], *, same: bool) -> "Config":
    path = data / "backwatch.yaml"
    if not (same and path.exists()):
        text = write_configuration(data, place, shop["env"])
        if path.exists() and path.read_text(encoding="utf-8") != text:
            kept = path.with_suffix(".yaml.before")
            path.replace(kept)
            click.echo(f"The ports have changed, so {path.name} is written anew; what it was: {kept}")
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    config, _ = load_with(whole_loader(), path, data)
    return config


def _prepare(config: "Config", supervisor: Supervisor) -> None:
    """A store of this version, with a past if it is a new one."""
    from dashboard.queries import SAMPLE_KEY
    from probes.store.database import open_database
    from probes.store.meta import get_meta
    from probes.store.states import load_standings

    prepare_store(config)
    engine = open_database(config.database)
    try:
        if get_meta(engine, SAMPLE_KEY) is None and not load_standings(engine):
            _make_past(engine, config, supervisor)
    finally:
        engine.dispose()


def _make_past(engine: "Engine", config: "Config", supervisor: Supervisor) -> None:
    from dashboard.sample_history import write_history
    from probes.asking import ask_now

    checks = list(config.estate.checks.values())
    now: dict[str, Result] = {result.check_id: result for result in ask_now(checks)}
    with click.progressbar(length=100, label="Making up two weeks of history", file=sys.stdout) as bar:

        def show(share: float) -> None:
            bar.update(max(0, int(share * 100) - bar.pos))
            supervisor.tend()

        now_ms = time.time_ns() // 1_000_000
        write_history(engine, config.estate, now, now_ms, location=config.location, progress=show)


def _own(config: "Config", data: Path, port: int) -> list[Child]:
    environment = {"BACKWATCH_INBOX": str(data / "inbox")}
    return own_children(config, ["--host", HOST, "--port", str(port)], environment=environment)


def _shop(place: Place) -> Child:
    command = ("-m", "sample_targets", "run", "--data", place.shop_data, "--port-base", str(place.shop_port))
    beat = f"http://{HOST}:{place.port}/push/{place.heartbeat_token}"
    environment = {"SHOP_HEARTBEAT_URL": beat, "PYTHONUNBUFFERED": "1"}
    return Child("shop", (sys.executable, "-P", *command, "--json-ready"), environment, last=True)


def _inbox(place: Place, data: Path) -> Child:
    where = (str(data / "inbox"), str(place.smtp_port), str(place.hook_port))
    environment = {"BACKWATCH_HOOK_SECRET": place.hook_secret}
    return Child("inbox", (sys.executable, "-P", "-m", "dashboard.inbox", *where), environment, last=True)


def _is_ready(config: "Config", port: int, since_ms: int) -> bool:
    """Whether the dashboard says so, and every check has a result that is no sample."""
    import requests

    from probes.store.database import StoreError, open_database
    from probes.store.states import load_standings

    session = requests.Session()
    session.trust_env = False
    try:
        if not session.get(f"http://{HOST}:{port}/readyz", timeout=2).ok:
            return False
        engine = open_database(config.database)
        try:
            fresh = {one.check_id for one in load_standings(engine) if one.slot_ms >= since_ms}
        finally:
            engine.dispose()
    except (requests.RequestException, StoreError):
        return False
    return fresh >= set(config.estate.checks)


def _guide(data: Path, place: Place, log_path: Path) -> str:
    python = say_python()
    shop = "" if place.shop_data == _shop_by_itself() else f" --data {shlex.quote(place.shop_data)}"
    faults = (
        ("db_down", "break the database"),
        ("cold_cache", "starve the cache"),
        ("one_bad_node", "break one of two app servers"),
    )
    width = max(len(name) for name, _ in faults) + len(shop)
    tries = "\n".join(
        f"  {python} -m sample_targets break {name + shop:<{width}}   # {words}" for name, words in faults
    )
    return (
        f"\nBackwatch demo is up.\n\n"
        f"  Dashboard      http://{HOST}:{place.port}\n"
        f"  The shop       http://{HOST}:{place.shop_port}\n"
        f"  Mail, webhooks {data / 'inbox'}, and on the page Notifications\n"
        f"  Configuration  {data / 'backwatch.yaml'}\n"
        f"  Log            {log_path}\n\n"
        f"Try, in another terminal, and watch Overview and Request path:\n\n"
        f"{tries}\n"
        f"  {python} -m sample_targets mend{shop}\n"
        f"  {_say_command('backwatch')} status -c {shlex.quote(_relative(data / 'backwatch.yaml'))}\n\n"
        "History before now is made up. Ctrl-C stops everything."
    )


def say_python() -> str:
    """This interpreter as a person who stands here would type it."""
    return _say_command(Path(sys.executable).name)


def _say_command(name: str) -> str:
    path = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and Path(found).absolute() == path:
        return name
    return shlex.quote(_relative(path))


def _relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _shop_by_itself() -> str:
    """Where break and mend look by themselves, in a shell like this one."""
    return str(Path(os.environ.get("SHOP_DATA") or SHOP_DEFAULT).absolute())


def _shop_runs(data: Path) -> bool:
    if not data.exists():
        return False
    command = [sys.executable, "-P", "-m", "sample_targets", "status", "--data", str(data)]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def _is_ours_to_use(folder: Path) -> bool:
    return not folder.exists() or folder.stat().st_uid == os.getuid()


def _free_row(first: int, taken: set[int]) -> int:
    """The first of SHOP_PORTS ports in a row that are free; they are taken now."""
    for base in (*range(first, first + 200, 10), *range(20_000, 60_000, 10)):
        row = set(range(base, base + SHOP_PORTS))
        if not row & taken and all(_is_free(port) for port in row):
            taken |= row
            return int(base)
    raise Refusal("there is no run of eight free ports for the sample shop")


def _free_port(wanted: int, taken: set[int]) -> int:
    # A new one is the system's choice: two demos that start together would both find the same fixed one free.
    port = wanted
    while not port or port in taken or not _is_free(port):
        with socket.socket() as listener:
            listener.bind((HOST, 0))
            port = int(listener.getsockname()[1])
    taken.add(port)
    return port


def _is_free(port: int) -> bool:
    try:
        with socket.socket() as listener, socket.socket(type=socket.SOCK_DGRAM) as receiver:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, port))
            listener.listen(1)
            receiver.bind((HOST, port))
    except OSError:
        return False
    return True
