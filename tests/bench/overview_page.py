"""How fast is the overview of many checks, in a real Chromium? Prints figures beside their goals.

python tests/bench/overview_page.py [--checks 1000] [--hours 24] [--every 60] [--loads 5]
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import requests
from playwright.sync_api import Page, sync_playwright

TESTS = Path(__file__).resolve().parents[1]
QUIET = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
FIRST_CARD = "performance.getEntriesByName('backwatch-first-card')[0].startTime"


def load(name: str) -> ModuleType:
    """A module beside the dashboard's tests."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", TESTS / "dashboard" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Traffic:
    """Bytes of data that a page receives: answers of our API, and frames of Streamlit's websocket."""

    def __init__(self, page: Page) -> None:
        self.frames = 0
        self._responses: list[Any] = []
        page.on("response", lambda response: self._responses.append(response))  # noqa: PLW0108 - wants a function
        page.on("websocket", lambda socket: socket.on("framereceived", self._frame))

    @property
    def answers(self) -> list[int]:
        """Bytes of each answer of our API, headers included."""
        return [size(one) for one in self._responses if "/api/v1/" in one.url]

    def _frame(self, payload: str | bytes) -> None:
        self.frames += len(payload)


def size(response: Any) -> int:
    """Bytes of an answer, headers included. Chromium says of a 304 that it failed, and knows no sizes of it."""
    headers = sum(len(name) + len(value) + 4 for name, value in response.all_headers().items())
    return headers if response.status == 304 else headers + int(response.request.sizes()["responseBodySize"])


def loads(page: Page, url: str, n: int) -> tuple[list[float], int]:
    """Seconds from reload to the first card with live data, and the bytes of the last load."""
    page.goto(url)
    page.wait_for_selector(".item")
    seconds, received = [], 0
    for _ in range(n):
        traffic = Traffic(page)
        page.reload()
        page.wait_for_selector(".item")
        seconds.append(page.evaluate(FIRST_CARD) / 1000)
        page.wait_for_timeout(500)
        received = sum(traffic.answers) + traffic.frames
    return seconds, received


def refresh(page: Page, wait_s: float) -> tuple[int, float]:
    """Bytes of one refresh, of which most find nothing changed, and milliseconds of script in it."""
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")
    traffic = Traffic(page)
    before = script_s(client)
    page.wait_for_timeout(wait_s * 1000)
    answers = traffic.answers
    polls = len(answers)
    unchanged = round(statistics.median(answers)) + traffic.frames // polls
    return unchanged, (script_s(client) - before) * 1000 / polls


def script_s(client: Any) -> float:
    """Seconds that the page's scripts have run."""
    metrics = {one["name"]: one["value"] for one in client.send("Performance.getMetrics")["metrics"]}
    return float(metrics["ScriptDuration"])


def wall_ms(url: str) -> float:
    """Milliseconds until the wall's document is built and sent, the median of five."""
    taken = []
    for _ in range(5):
        time.sleep(1.1)
        begun = time.perf_counter()
        requests.get(f"{url}/api/v1/wall", timeout=30).raise_for_status()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def keep_fresh(estate: ModuleType, made: Any, stop: threading.Event) -> None:
    """Both roles stay seen, so that the page is not about their absence."""
    while not stop.wait(10):
        estate.beat_all(made)


def main() -> None:
    """Build, serve, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--checks", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--every", type=float, default=60)
    parser.add_argument("--loads", type=int, default=5)
    options = parser.parse_args()
    estate, conftest = load("estate"), load("conftest")
    with tempfile.TemporaryDirectory() as folder:
        made = estate.make(Path(folder), estate.large(options.checks))
        begun = time.perf_counter()
        estate.history(made, options.hours, options.every)
        estate.beat_all(made)
        took_s = time.perf_counter() - begun
        print(f"{options.checks} checks, {options.hours:g} h at {options.every:g} s, built in {took_s:.0f} s")
        stop = threading.Event()
        threading.Thread(target=keep_fresh, args=(estate, made, stop), daemon=True).start()
        with conftest.serving(made) as served:
            measure(served.url, served.process, options.loads)
        stop.set()


def measure(url: str, process: "subprocess.Popen[bytes]", n: int) -> None:
    """One visit of the running dashboard."""
    path = os.environ.get("BACKWATCH_TEST_CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", *QUIET])
        page = browser.new_context(viewport={"width": 1600, "height": 1000}).new_page()
        seconds, received = loads(page, url, n)
        page.wait_for_timeout(6000)
        refreshed, script = refresh(page, 20)
        browser.close()
    memory = psutil.Process(process.pid).memory_info().rss / 1e6
    median, worst = statistics.median(seconds), max(seconds)
    print(f"reload to first live card   median {median:.2f} s, worst {worst:.2f} s   (goal ≤ 1.5 s)")
    print(f"data of one load            {received / 1000:.1f} KB   (goal ≤ 250 KB)")
    print(f"unchanged refresh           {refreshed} bytes, {script:.1f} ms of script   (goal ≤ 1 KB)")
    print(f"wall built and sent         {wall_ms(url):.0f} ms")
    print(f"memory of the dashboard     {memory:.0f} MB")


if __name__ == "__main__":
    main()
