"""The shop as processes: ready when it says so, restarted when it dies, gone without a trace when it ends."""

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import dns.message
import dns.query
import dns.rcode
import psutil
import pytest

from sample_targets.invoices import Heartbeat

if TYPE_CHECKING:
    from conftest import RunningShop

Eventually = Callable[[float, Callable[[], bool]], None]
PARTS = {"cache", "payments", "dns", "app-1", "app-2", "lb", "web", "invoices", "visitors"}


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def command(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sample_targets", *words],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={**os.environ, **env},
    )


def test_when_ready_every_listener_accepts_and_is_a_process_of_its_own(shop: "RunningShop") -> None:
    assert all(accepts(port) for port in shop.state["ports"].values())
    assert set(shop.state["processes"]) == PARTS | {"supervisor"}
    assert len(set(shop.state["processes"].values())) == len(PARTS) + 1
    assert shop.state["env"]["SHOP_PORT_APP_1"] == str(shop.state["ports"]["app-1"])


def test_status_finds_the_shop_through_the_environment(shop: "RunningShop") -> None:
    done = command("status", SHOP_DATA=str(shop.data))
    assert done.returncode == 0
    assert "nothing is broken" in done.stdout


@pytest.mark.parametrize("words", [["status"], ["break", "hang"], ["mend"]], ids=lambda words: words[0])
def test_without_a_shop_commands_say_how_to_start_one(tmp_path: Path, words: list[str]) -> None:
    done = command(*words, "--data", str(tmp_path))
    assert done.returncode == 2
    assert f"no shop runs in {tmp_path}: start one with" in done.stderr


def test_a_second_shop_in_the_same_place_is_refused(shop: "RunningShop") -> None:
    done = shop.command("run")
    assert (done.returncode, "a shop runs already in" in done.stderr) == (2, True)


def test_taken_ports_are_refused_by_name(shop: "RunningShop", tmp_path: Path) -> None:
    base = shop.state["ports"]["web"]
    done = command("run", "--data", str(tmp_path), "--port-base", str(base))
    assert (done.returncode, f"web {base}" in done.stderr) == (2, True)


def test_a_part_that_dies_is_restarted(shop: "RunningShop", eventually: Eventually) -> None:
    old = shop.read_state()["processes"]["app-1"]
    os.kill(old, signal.SIGKILL)
    assert [shop.status_of("web", "/products") for _ in range(5)] == [200] * 5
    eventually(8, lambda: shop.read_state()["processes"].get("app-1", old) != old)
    assert shop.status_of("app-1", "/health") == 200


@pytest.mark.slow
def test_nothing_outlives_a_killed_supervisor_and_the_next_run_is_whole(
    own_shop: "RunningShop", open_another: Callable[[Path, int], AbstractContextManager["RunningShop"]]
) -> None:
    own_shop.break_("db_down")
    children = [psutil.Process(pid) for pid in own_shop.state["processes"].values()]
    own_shop.process.kill()
    own_shop.process.wait()
    _, alive = psutil.wait_procs(children, timeout=3)
    assert alive == []
    assert own_shop.command("status").returncode == 2
    base = own_shop.state["ports"]["web"]
    with open_another(own_shop.data, base) as again:
        assert again.status_of("web", "/products") == 200
        again.process.send_signal(signal.SIGINT)
        assert again.process.wait(10) == 0
    assert not any(accepts(port) for port in own_shop.state["ports"].values())


@pytest.mark.parametrize(("name", "code"), [("shop.example", dns.rcode.NOERROR), ("other.example", dns.rcode.NXDOMAIN)])
def test_names_are_answered_over_udp_and_tcp(shop: "RunningShop", name: str, code: int) -> None:
    question = dns.message.make_query(name, "A")
    for ask in (dns.query.udp, dns.query.tcp):
        reply = ask(question, "127.0.0.1", port=shop.state["ports"]["dns"], timeout=5)
        assert reply.rcode() == code
        assert [record.to_text() for rrset in reply.answer for record in rrset] == ["127.0.0.1"] * (code == 0)


def test_the_job_posts_its_heartbeat_once_a_period() -> None:
    heard: list[bytes] = []

    class Hearer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Hearer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        heartbeat = Heartbeat(f"http://127.0.0.1:{server.server_port}/push/token")
        heartbeat.beat(3)
        heartbeat.beat(4)
        server.shutdown()
        thread.join()
    assert heard == [b"invoices written: 3"]
