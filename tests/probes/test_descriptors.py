"""How many conversations the limit of open files bears."""

import resource
import subprocess
import sys

import pytest

from probes.descriptors import most_conversations

RAISE = "import resource; from probes.descriptors import raise_limit; print(raise_limit())"


@pytest.mark.parametrize(
    ("wanted", "limit", "threads", "most"),
    [
        pytest.param(4000, 65_536, 16, 4000, id="as wanted"),
        pytest.param(4000, 4096, 16, 1916, id="two files each"),
        pytest.param(4000, 1024, 16, 380, id="an old default"),
        pytest.param(4000, 256, 64, 1, id="never none"),
    ],
)
def test_room_follows_the_limit(wanted: int, limit: int, threads: int, most: int) -> None:
    assert most_conversations(wanted, limit, threads) == most


@pytest.mark.parametrize("hard", [512, 2000])
def test_limit_is_raised_to_what_the_system_allows(hard: int) -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))

    said = subprocess.run([sys.executable, "-c", RAISE], preexec_fn=lower, capture_output=True, text=True, check=True)
    assert int(said.stdout) == hard
