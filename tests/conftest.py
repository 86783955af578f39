"""What every test stands on, and in which order the workers of pytest-xdist get the files."""

import logging
from collections import Counter
from collections.abc import Iterator

import pytest
from xdist.scheduler import LoadFileScheduling

# These wait for processes, outages and messages more than they work. Each lane is one worker's from the beginning, so
# that they pass beside the tests that work, and never more of them at once than there are lanes.
LANES = (
    ("tests/alerts/test_kill.py", "tests/e2e/test_demo.py", "tests/e2e/test_kill.py"),
    ("tests/e2e/test_harm.py", "tests/e2e/test_damage.py", "tests/probes/store/test_kill.py"),
)


class LaneScheduling(LoadFileScheduling):
    """Hands out tests by file, and the files of a lane as if they were one."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((lane[0] for lane in LANES if file in lane), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LaneScheduling | None:
    return LaneScheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The lanes; beside them the files that time what they do; then slow ones; then the others, long ones first."""
    in_lane = {file for lane in LANES for file in lane}
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    tests = Counter(item.path for item in items)

    def turn(item: pytest.Item) -> tuple[int, int]:
        file = item.nodeid.split("::")[0]
        if file in in_lane:
            return 0, 0
        if file.startswith("tests/probes/") and not file.startswith("tests/probes/store/"):
            return 1, 0
        return (2, 0) if item.path in slow else (3, -tests[item.path])

    items.sort(key=turn)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Commands set up logging for their process; in the tests' process that ends with the test."""
    root, ours = logging.getLogger(), logging.getLogger("probes")
    handlers, level, our_level = list(root.handlers), root.level, ours.level
    yield
    ours.setLevel(our_level)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    root.setLevel(level)
