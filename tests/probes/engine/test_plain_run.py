"""The short way of ordinary runs: what it remembers, and that whatever is not ordinary is told as ever."""

import datetime
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from probes import curl_run
from probes.engine import Engine
from probes.kinds.http import Expects, HttpProbe, Options
from probes.loop import Loop
from probes.name_service import NameService
from probes.probe import Ask, Conversation, Deadline, Reading
from probes.resolver import Resolver
from probes.result import Reason, Status
from probes.target import Check, Tier

pytestmark = pytest.mark.usefixtures("carrier")

AskProbe = Callable[..., Reading]


def probe_of(url: str, **options: Any) -> HttpProbe:
    return HttpProbe(Options(url=url, **options), Expects())


def in_days(number: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=number)


class SecureSite:
    """A server whose certificate can be changed while it runs."""

    def __init__(self, servers: Any, answering: Any, authority: trustme.CA) -> None:
        self._authority, self._servers = authority, servers
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.show(days=30)
        self.port = servers.start(answering(), self._context)

    def show(self, days: float) -> None:
        leaf = self._authority.issue_cert("127.0.0.1", not_before=in_days(-60), not_after=in_days(days))
        leaf.configure_cert(self._context)

    @property
    def connections(self) -> int:
        return int(self._servers.accepted)


@pytest.fixture
def secure(servers: Any, answering: Any, authority: trustme.CA) -> SecureSite:
    return SecureSite(servers, answering, authority)


@pytest.fixture
def secure_probe(secure: SecureSite, ca_file: str) -> HttpProbe:
    return probe_of(f"https://127.0.0.1:{secure.port}/", ca_file=ca_file)


def days_of(reading: Reading) -> float:
    return reading.metrics["certificate_days_left"]


def test_days_left_stand_in_runs_that_do_not_look_at_the_certificate(
    secure_probe: HttpProbe, ask_probe: AskProbe
) -> None:
    first, second = ask_probe(secure_probe), ask_probe(secure_probe)
    assert (first.status, second.status) == (Status.UP, Status.UP)
    assert days_of(first) == pytest.approx(30, abs=0.1)
    assert days_of(second) == pytest.approx(30, abs=0.1)
    assert first.facts == second.facts


def test_changed_certificate_is_noticed_when_it_is_looked_at_again(
    secure: SecureSite, secure_probe: HttpProbe, ask_probe: AskProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curl_run, "CERTIFICATE_FOR_S", 0.3)
    first = ask_probe(secure_probe)
    secure.show(days=90)
    time.sleep(0.35)
    then = ask_probe(secure_probe)
    assert days_of(then) == pytest.approx(90, abs=0.1)
    assert (then.facts or {})["certificate"] != (first.facts or {})["certificate"]


def test_certificate_that_has_gone_bad_is_told_at_once_with_its_own_days(
    secure: SecureSite, secure_probe: HttpProbe, ask_probe: AskProbe
) -> None:
    good = ask_probe(secure_probe)
    secure.show(days=-2)
    for connections in (3, 4):  # looked at once more in the first bad run, in one go in the next
        bad = ask_probe(secure_probe)
        assert (bad.status, bad.reason) == (Status.DOWN, Reason.TLS_EXPIRED)
        assert days_of(bad) == pytest.approx(-2, abs=0.1)
        assert (bad.facts or {})["certificate"] != (good.facts or {})["certificate"]
        assert secure.connections == connections
    secure.show(days=20)
    assert days_of(ask_probe(secure_probe)) == pytest.approx(20, abs=0.1)


def test_redirect_after_plain_answers_is_followed_and_counted(
    servers: Any, answering: Any, ask_probe: AskProbe
) -> None:
    end = servers.start(answering(b"there"))
    handlers = [answering(), answering(b"", "302 Found", f"Location: http://127.0.0.1:{end}/\r\n"), answering()]

    def handle(connection: socket.socket) -> None:
        handlers.pop(0)(connection)

    port = servers.start(handle)
    probe = probe_of(f"http://127.0.0.1:{port}/")
    assert [ask_probe(probe).metrics for _ in range(3)] == [
        {"size_bytes": 4.0, "redirects": 0.0},
        {"size_bytes": 5.0, "redirects": 1.0},
        {"size_bytes": 4.0, "redirects": 0.0},
    ]


def test_name_that_moves_to_a_metadata_address_is_refused(servers: Any, answering: Any, loop: Loop) -> None:
    port = servers.start(answering())
    hosts = {"shop.example": ("127.0.0.1",)}
    engine = Engine(loop, Resolver(loop, lambda: NameService(hosts=hosts)))
    check = Check("s/t/http", "s", "t", "http", Tier.WEB, probe_of(f"http://shop.example:{port}/"), 10, 2, 5, 3, 2)
    heard: list[Reading] = []
    for address in ("127.0.0.1", "127.0.0.1", "169.254.169.254", "127.0.0.1"):
        hosts["shop.example"] = (address,)
        wanted = len(heard) + 1
        engine.start(check, Ask(Deadline(2), 0, 10), heard.append)
        while len(heard) < wanted:
            loop.turn(0.1)
    engine.close()
    assert [reading.reason for reading in heard] == [None, None, Reason.SSRF_BLOCKED, None]


def test_no_answer_is_not_called_no_connection_when_we_looked_too_late(
    servers: Any, engine: Engine, loop: Loop
) -> None:
    port = servers.start(lambda connection: time.sleep(3))
    check = Check("s/t/http", "s", "t", "http", Tier.WEB, probe_of(f"http://127.0.0.1:{port}/"), 10, 0.1, 5, 3, 2)
    heard: list[Reading] = []
    engine.start(check, Ask(Deadline(0.1), 0, 10), heard.append)
    loop.turn(0)  # the connection is begun
    time.sleep(0.2)  # it stands by now, and the deadline has passed before we look
    while not heard:
        loop.turn(0.1)
    assert (heard[0].status, heard[0].reason) == (Status.DOWN, Reason.DEADLINE)
    assert "no connection" not in heard[0].message


def test_conversation_that_cannot_take_over_is_internal(ask_probe: AskProbe) -> None:
    class Unable(HttpProbe):
        def converse(self, ask: Ask) -> Conversation:
            raise RuntimeError("no conversation today")

    reading = ask_probe(Unable(Options(url="http://127.0.0.1:9/"), Expects()))
    assert (reading.status, reading.reason) == (Status.UNKNOWN, Reason.INTERNAL)
