"""What does the whole worker reach, beside its peers on the same machine in the same run? Prints the table.

python tests/bench/engine_table.py                 all rows, under six minutes
python tests/bench/engine_table.py http https      some rows: http https ttfb hanging kuma lateness memory
python tests/bench/engine_table.py --rate 1000     checks a second of the http row (https: a sixth); a busy machine
                                                   cannot do 2,500, and what is late is not up and counts for nothing

Nothing is installed: nginx is needed; prometheus-blackbox-exporter and wrk are used where they are found. Ours is the
real worker process: schedule, assertions, results stored in SQLite. Peers take turns with it (A B A B), medians count.
CPU is user and system time of the process under test; a check of ours counts only if it is stored and `up`.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import trustme
from worker_http import WORKER, cpu_s, free_port, running, wait_for_port

ROUNDS = 2
KUMA_US = 3638
"""CPU a check of Uptime Kuma 2.5.3, 1,000 monitors at 20 s, measured on another two-core machine."""
BODY = "hello world, all is well"
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
  access_log off; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{http} backlog=8192; listen 127.0.0.1:{https} ssl backlog=8192;
    location / {{ return 200 "{body}\\n"; }}
  }}
}}
"""
Row = tuple[str, str, str, str]


class Bench:
    """A folder, a web server in it, and ways to run the worker against something."""

    def __init__(self, folder: Path, rate: int = 2500) -> None:
        self.folder = folder
        self.rate = rate
        self.http, self.https = free_port(), free_port()
        authority = trustme.CA()
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        leaf.private_key_pem.write_to_path(folder / "key.pem")
        conf = NGINX.format(folder=folder, http=self.http, https=self.https, body=BODY)
        (folder / "nginx.conf").write_text(conf)

    def config(self, url: str, checks: int, interval: str, timeout: str, **options: Any) -> Path:
        """Checks of one URL each, ten a target; status and body are looked at."""
        data = Path(tempfile.mkdtemp(dir=self.folder))
        expect = {"status": 200, "body": {"contains": "all is well"}}
        targets = {
            f"t{first}": {
                "tier": "web",
                "checks": [
                    {"kind": "http", "name": f"c{n}", "url": f"{url}/{n}", "expect": expect, **options}
                    for n in range(first, min(first + 10, checks))
                ],
            }
            for first in range(0, checks, 10)
        }
        document = {
            "defaults": {"interval": interval, "timeout": timeout},
            "worker": {"max_in_flight": 5000},
            "sites": {"bench": {"targets": targets}},
        }
        path = data / "backwatch.yaml"
        path.write_text(json.dumps(document))
        return path

    def cpu_a_check(self, config: Path, settle_s: float, seconds: float) -> float:
        """Microseconds of CPU for each check that was stored as up."""
        with running(sys.executable, "-c", WORKER, str(config)) as worker:
            wait_for_results(config)
            time.sleep(settle_s)
            began_ms, cpu = int(time.time() * 1000), cpu_s(worker)
            time.sleep(seconds)
            spent, ended_ms = cpu_s(worker) - cpu, int(time.time() * 1000)
            time.sleep(1)  # the last batch
        stored = query(config, "SELECT count(*), sum(status = 0) FROM hot WHERE id >> 20 >= ? AND id >> 20 < ?",
                       began_ms, ended_ms)[0]  # fmt: skip
        if not stored[1]:
            sys.exit("no check was answered: is the machine busy? Try a lower --rate")
        if stored[1] != stored[0]:
            print(f"  ({stored[0] - stored[1]} of {stored[0]} results are not up)", file=sys.stderr)
        return spent / stored[1] * 1e6


def store_of(config: Path) -> str:
    return f"file:{config.parent / 'backwatch-data' / 'backwatch.db'}?mode=ro"


def query(config: Path, statement: str, *values: object) -> list[Any]:
    with sqlite3.connect(store_of(config), uri=True, timeout=10) as connection:
        return connection.execute(statement, values).fetchall()


def wait_for_results(config: Path) -> float:
    """Wait for the first result; its time in epoch seconds."""
    for _ in range(600):
        try:
            if found := query(config, "SELECT id >> 20 FROM hot ORDER BY id LIMIT 1"):
                return float(found[0][0]) / 1000
        except sqlite3.OperationalError:
            pass  # no file or no tables yet
        time.sleep(0.05)
    sys.exit("the worker stores nothing")


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@contextmanager
def blackbox(bench: Bench) -> Iterator[tuple[psutil.Process, int] | None]:
    """The peer, with a module for each scheme."""
    program = shutil.which("prometheus-blackbox-exporter") or shutil.which("blackbox_exporter")
    if program is None:
        yield None
        return
    module = {
        "prober": "http",
        "timeout": "5s",
        "http": {
            "fail_if_body_not_matches_regexp": ["all is well"],
            "tls_config": {"ca_file": str(bench.folder / "ca.pem")},
        },
    }
    conf = bench.folder / "blackbox.yml"
    conf.write_text(json.dumps({"modules": {"http": module}}))
    port = free_port()
    listen = f"--web.listen-address=127.0.0.1:{port}"
    with running(program, f"--config.file={conf}", listen, "--log.level=error") as peer:
        wait_for_port(port)
        yield peer, port


def blackbox_cpu_a_check(peer: tuple[psutil.Process, int], url: str, seconds: float) -> float:
    """Microseconds of CPU for each successful probe, asked by 8 threads that keep their connections."""
    process, port = peer
    until = time.monotonic() + seconds
    cpu = cpu_s(process)

    def ask(_: int) -> int:
        done, connection = 0, HTTPConnection("127.0.0.1", port, timeout=10)
        while time.monotonic() < until:
            connection.request("GET", f"/probe?module=http&target={quote(url, safe='')}")
            done += b"probe_success 1" in connection.getresponse().read()
        connection.close()
        return done

    with ThreadPoolExecutor(8) as threads:
        count = sum(threads.map(ask, range(8)))
    return (cpu_s(process) - cpu) / count * 1e6


def wrk_cpu_a_check(url: str) -> str:
    """What the physical reference needs, which checks nothing."""
    if shutil.which("wrk") is None:
        return "wrk is not installed"
    before = os.times()
    said = subprocess.run(
        ["wrk", "-t1", "-c100", "-d3s", "-H", "Connection: close", url], capture_output=True, text=True, check=True
    ).stdout
    after = os.times()
    count = int(next(line for line in said.splitlines() if "requests in" in line).split()[0])
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return f"wrk {spent / count * 1e6:.0f} µs"


def row_cpu(bench: Bench, scheme: str, checks: int, goal: str) -> list[Row]:
    port = bench.https if scheme == "https" else bench.http
    url = f"{scheme}://127.0.0.1:{port}"
    options = {"ca_file": str(bench.folder / "ca.pem")} if scheme == "https" else {}
    ours, theirs = [], []
    with blackbox(bench) as peer:
        for _ in range(ROUNDS):
            config = bench.config(url, 2 * checks, "2s", "2s", **options)
            ours.append(bench.cpu_a_check(config, 3, 8))
            if peer:
                theirs.append(blackbox_cpu_a_check(peer, f"{url}/1", 6))
    mine, reference = statistics.median(ours), wrk_cpu_a_check(f"{url}/1")
    if not theirs:
        return [
            (f"{scheme}: µs CPU a check", goal, f"{mine:.0f} µs", f"blackbox_exporter is not installed; {reference}")
        ]
    peer_us = statistics.median(theirs)
    return [(f"{scheme}: checks per CPU-second, whole worker, {checks}/s", goal,
             f"{peer_us / mine:.1f} × ({mine:.0f} µs a check)", f"blackbox {peer_us:.0f} µs; {reference}")]  # fmt: skip


def row_http(bench: Bench) -> list[Row]:
    return row_cpu(bench, "http", bench.rate, "≥ 6 × blackbox (stretch 9 ×)")


def row_https(bench: Bench) -> list[Row]:
    return row_cpu(bench, "https", bench.rate // 6, "≥ 1.5 × blackbox (stretch 1.8 ×)")


@contextmanager
def delayed(delay: str) -> Iterator[tuple[int, Callable[[], dict[str, float]]]]:
    """A server of known slowness: its port, and how to end it and hear what it says of itself."""
    port = free_port()
    program = str(Path(__file__).with_name("delayed_server.py"))
    process = subprocess.Popen([sys.executable, program, str(port), delay], stdout=subprocess.PIPE, text=True)

    def end() -> dict[str, float]:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=10)[0]
        return json.loads(said) if said else {}

    try:
        wait_for_port(port)
        yield port, end
    finally:
        if process.poll() is None:
            end()


def row_ttfb(bench: Bench) -> list[Row]:
    with delayed("0.05") as (port, end):
        config = bench.config(f"http://127.0.0.1:{port}", 1000, "1s", "1s")
        with running(sys.executable, "-c", WORKER, str(config)):
            began = wait_for_results(config)
            time.sleep(14)
        own = end()
    found = query(config, "SELECT ttfb_us FROM hot WHERE id >> 20 > ? AND status = 0", int((began + 3) * 1000))
    ours = [row[0] / 1000 for row in found]
    p50, p99 = percentile(ours, 0.5), percentile(ours, 0.99)
    return [("TTFB reported at 1,000 checks/s, true delay 50 ms", "p99 within 3 ms of the server's own",
             f"p99 {p99 - own['p99_ms']:+.1f} ms (p50/p99 {p50:.1f}/{p99:.1f})",
             f"server itself {own['p50_ms']:.1f}/{own['p99_ms']:.1f}")]  # fmt: skip


def row_hanging(bench: Bench) -> list[Row]:
    with delayed("never") as (port, end):
        config = bench.config(f"http://127.0.0.1:{port}", 4400, "11s", "10s")
        with running(sys.executable, "-c", WORKER, str(config)) as worker:
            time.sleep(20)
            rss = worker.memory_info().rss / 2**20
            sockets = sum(link.status == psutil.CONN_ESTABLISHED for link in worker.net_connections("tcp"))
            time.sleep(8)
        end()
    # What hangs when the worker is stopped is cancelled all at once, and no timeout.
    found = query(config, "SELECT total_us FROM hot JOIN error ON error.id = error_id WHERE reason = 'deadline'")
    late = [row[0] / 1000 - 10_000 for row in found]
    shown = f"{max(late):.0f} ms (p99 {percentile(late, 0.99):.0f}; {len(late)} timeouts, {sockets} at a time)"
    return [("timeouts late, 4,000 targets hanging: worst", "≤ 20 ms", shown, "blackbox 575 ms (elsewhere)"),
            ("RSS with 4,000 hanging", "≤ 80 MiB", f"{rss:.0f} MiB", "blackbox 590 MiB (elsewhere)")]  # fmt: skip


def row_kuma(bench: Bench) -> list[Row]:
    config = bench.config(f"http://127.0.0.1:{bench.http}", 1000, "20s", "5s")
    with running(sys.executable, "-c", WORKER, str(config)) as worker:
        began = wait_for_results(config)
        time.sleep(max(0.0, began + 21 - time.time()))
        first = query(config, "SELECT count(DISTINCT series_id), max(id >> 20) FROM hot WHERE status = 0")[0]
        cpu, began_ms = cpu_s(worker), int(time.time() * 1000)
        time.sleep(20)
        spent, ended_ms = cpu_s(worker) - cpu, int(time.time() * 1000)
        time.sleep(0.6)
    count = query(config, "SELECT count(*) FROM hot WHERE id >> 20 >= ? AND id >> 20 < ? AND status = 0",
                  began_ms, ended_ms)[0][0]  # fmt: skip
    each = spent / count * 1e6
    return [("CPU a check, 1,000 checks at 20 s, whole worker", "≥ 20 × less than Uptime Kuma 2.5.3",
             f"{KUMA_US / each:.1f} × ({each:.0f} µs)", f"Kuma {KUMA_US} µs, measured elsewhere"),
            ("run within one interval of the first", "all 1,000", str(first[0]), "Kuma: 10 minutes")]  # fmt: skip


def row_lateness(bench: Bench) -> list[Row]:
    config = bench.config(f"http://127.0.0.1:{bench.http}", 1000, "10s", "5s")
    with running(sys.executable, "-c", WORKER, str(config)):
        wait_for_results(config)
        time.sleep(21)
    late = [row[0] for row in query(config, "SELECT late_ms FROM hot")]
    shown = f"{percentile(late, 0.99):.0f} ms (p50 {percentile(late, 0.5):.0f}, worst {max(late)}, {len(late)} starts)"
    return [("start lateness p99, 1,000 checks at 10 s", "≤ 50 ms", shown, "–")]


def row_memory(bench: Bench) -> list[Row]:
    config = bench.config(f"http://127.0.0.1:{bench.http}", 5000, "10s", "5s")
    with running(sys.executable, "-c", WORKER, str(config)) as worker:
        wait_for_results(config)
        time.sleep(22)
        rss = worker.memory_info().rss / 2**20
    return [("worker RSS, 5,000 http checks, after two rounds", "≤ 90 MiB", f"{rss:.0f} MiB", "–")]


ROWS: dict[str, Callable[[Bench], list[Row]]] = {
    "http": row_http,
    "https": row_https,
    "ttfb": row_ttfb,
    "hanging": row_hanging,
    "kuma": row_kuma,
    "lateness": row_lateness,
    "memory": row_memory,
}


def main() -> None:
    """Measure and print, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="ROW")
    parser.add_argument("--rate", type=int, default=2500)
    options = parser.parse_args()
    wanted = options.rows or list(ROWS)
    if shutil.which("nginx") is None:
        sys.exit("nginx is needed (apt install nginx-light)")
    load = os.getloadavg()[0]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()};"
    )
    print(f"load before the run {load:.1f}\n\n| figure | goal | reached | beside |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="backwatch-bench-") as name:
        Path(name).chmod(0o755)
        bench = Bench(Path(name), options.rate)
        with running("nginx", "-c", f"{name}/nginx.conf", "-e", "stderr"):
            wait_for_port(bench.http)
            for key in wanted:
                for row in ROWS[key](bench):
                    print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
