"""How much does the whole worker cost, and how punctual is it? Real processes: nginx, the worker, a peer.

python tests/bench/worker_http.py                  1,000 http checks at 10 s for two minutes
python tests/bench/worker_http.py --unpaced        2,500 a second; checks per CPU second beside a peer
"""

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil

from probes.store.database import open_database
from probes.store.processes import load_processes

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port} backlog=8192; location / {{ return 200 "hello world, all is well\\n"; }} }}
}}
"""
WORKER = "import sys, logging; from pathlib import Path; from probes.config_apart import load_config_apart; \
from probes.worker import run_worker; logging.basicConfig(level='WARNING'); \
run_worker(load_config_apart(Path(sys.argv[1])))"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(*command: str) -> Iterator[psutil.Process]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@contextmanager
def web_server(folder: Path) -> Iterator[int]:
    """Nginx on one port; it costs little, so that what is measured is us."""
    if shutil.which("nginx") is None:
        sys.exit("nginx is needed (apt install nginx-light)")
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(NGINX.format(folder=folder, port=port))
    with running("nginx", "-c", str(conf), "-e", "stderr"):
        wait_for_port(port)
        yield port


def wait_for_port(port: int, seconds: float = 5) -> None:
    for _ in range(int(seconds * 20)):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


def write_config(folder: Path, port: int, checks: int, interval: str) -> Path:
    """One site of targets with ten checks each; status and body are checked."""
    targets = {}
    for first in range(0, checks, 10):
        targets[f"web{first // 10}"] = {
            "tier": "web",
            "checks": [
                {
                    "kind": "http",
                    "name": f"c{n}",
                    "url": f"http://127.0.0.1:{port}/{n}",
                    "expect": {"status": 200, "body": {"contains": "all is well"}},
                }
                for n in range(first, min(first + 10, checks))
            ],
        }
    document = {
        "defaults": {"interval": interval, "timeout": "5s" if interval == "10s" else "1s"},
        "worker": {"max_in_flight": 500},
        "sites": {"bench": {"targets": targets}},
    }
    config = folder / "backwatch.yaml"
    config.write_text(json.dumps(document))
    return config


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def measure(folder: Path, config: Path, seconds: float) -> dict[str, float]:
    """Run the worker and read its own figures and the system's."""
    with running(sys.executable, "-c", WORKER, str(config)) as worker:
        time.sleep(12)  # start-up is not what is measured; the figures are of the last 10,000 runs
        database = open_database(f"sqlite:///{folder / 'backwatch-data' / 'backwatch.db'}")
        before, began, cpu = figures(database), time.monotonic(), cpu_s(worker)
        time.sleep(seconds)
        spent, took, rss = cpu_s(worker) - cpu, time.monotonic() - began, worker.memory_info().rss
        time.sleep(1)
        after = figures(database)
        database.dispose()
    # Figures are written every 5 s: scale the count to the seconds that were timed.
    run = after["results"] - before["results"] - (after["missed"] - before["missed"])
    rate = run / max(1e-3, after["seen_s"] - before["seen_s"])
    return {
        "run_per_s": rate,
        "results_stored": after["results"],
        "missed": after["missed"],
        "cpu_us_per_check": spent / took / rate * 1e6,
        "cpu_s_per_1000_checks": spent / took / rate * 1000,
        "checks_per_cpu_s": rate / (spent / took),
        "lateness_p50_ms": after["lateness_p50_s"] * 1000,
        "lateness_p99_ms": after["lateness_p99_s"] * 1000,
        "rss_mib": rss / 2**20,
    }


def figures(database: object) -> dict[str, float]:
    (one,) = (process for process in load_processes(database) if process.role == "worker")  # type: ignore[arg-type]
    return {**one.figures, "seen_s": one.seen_ms / 1000}


def measure_peer(folder: Path, port: int, seconds: float) -> float | None:
    """Checks per CPU second of blackbox_exporter asked by 50 threads; None where it is not installed."""
    program = shutil.which("prometheus-blackbox-exporter") or shutil.which("blackbox_exporter")
    if program is None:
        return None
    conf = folder / "blackbox.yml"
    conf.write_text(
        'modules: {http: {prober: http, timeout: 5s, http: {fail_if_body_not_matches_regexp: ["all is well"]}}}'
    )
    listen = free_port()
    url = f"http://127.0.0.1:{listen}/probe?module=http&target=http://127.0.0.1:{port}/1"
    with running(
        program, f"--config.file={conf}", f"--web.listen-address=127.0.0.1:{listen}", "--log.level=error"
    ) as peer:
        wait_for_port(listen)
        count, cpu, until = 0, cpu_s(peer), time.monotonic() + seconds

        def ask() -> int:
            done = 0
            while time.monotonic() < until:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    if b"probe_success 1" in answer.read():
                        done += 1
            return done

        with ThreadPoolExecutor(8) as threads:
            count = sum(threads.map(lambda _: ask(), range(8)))
        return count / (cpu_s(peer) - cpu)


def main() -> None:
    """Print the figures, one a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--unpaced", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backwatch-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with web_server(folder) as port:
            checks = options.checks or (2500 if options.unpaced else 1000)
            config = write_config(folder, port, checks, "1s" if options.unpaced else "10s")
            found = measure(folder, config, options.seconds)
            for key, value in found.items():
                print(f"{key:24} {value:,.2f}")
            if options.unpaced and (peer := measure_peer(folder, port, min(options.seconds, 20))):
                print(f"{'blackbox_per_cpu_s':24} {peer:,.2f}")
                print(f"{'ratio':24} {found['checks_per_cpu_s'] / peer:,.2f}")


if __name__ == "__main__":
    main()
