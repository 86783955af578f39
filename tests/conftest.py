"""What every test stands on."""

import logging
from collections.abc import Iterator

import pytest


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
