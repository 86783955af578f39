"""A worker runs for months: no run may leave a file or a thread behind."""

import sys
import threading
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts the entries of /proc/self/fd")
@pytest.mark.parametrize("fixture", ["closed_port", "http_port", "ssh_port", "silent_port"])
def test_failing_runs_leave_no_file_and_no_thread_behind(asker, request, fixture):
    place = f"127.0.0.1:{request.getfixturevalue(fixture)}"
    askers = [
        asker("tcp", {"url": place}, {"answer": "nothing like it"}, 0.05),
        asker("tls", {"url": place}, timeout_s=0.05),
        asker("redis", {"url": f"redis://{place}"}, timeout_s=0.05),
        asker("redis", {"url": f"rediss://{place}"}, timeout_s=0.05),
        asker("memcached", {"url": place}, timeout_s=0.05),
        asker("mysql", {"url": f"mysql://{place}"}, timeout_s=0.05),
        asker("postgresql", {"url": f"postgresql://a@{place}/b"}, timeout_s=0.05),
    ]

    # The fixtures' peers hold their ends of our connections, and serve them in threads; only ours may not grow.
    def ends() -> tuple[int, int]:
        files = len(list(Path("/proc/self/fd").iterdir())) - sum(end.fileno() >= 0 for end in held)
        servers = sum(thread.name.endswith(("(serve)", "(attempt)")) for thread in threading.enumerate())
        return files, threading.active_count() - servers

    held = request.getfixturevalue("held_ends")
    for ask in askers:
        ask()
    before = ends()
    for _ in range(5):
        for ask in askers:
            ask()
    after = ends()
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1] + 1
