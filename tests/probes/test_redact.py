"""What is shown is harmless and says no secret."""

import base64
import io
import logging
from urllib.parse import quote

import pytest

from probes.duration import format_duration, parse_duration
from probes.redact import Redactor, clean, masked, without_credentials

SECRET = "S3cr3t/Canary+1"


@pytest.mark.parametrize(
    "shown", [SECRET, quote(SECRET, safe=""), base64.b64encode(SECRET.encode()).decode()], ids=["raw", "url", "base64"]
)
def test_a_secret_is_masked_in_every_coat(shown: str) -> None:
    assert Redactor([SECRET])(f"before {shown} after") == "before *** after"


def test_log_lines_and_tracebacks_are_masked() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(Redactor([SECRET]))
    log = logging.getLogger("test-redact")
    log.propagate = False
    log.addHandler(handler)
    try:
        raise ValueError(f"connect with {SECRET}")
    except ValueError:
        log.exception("failed for %s", SECRET)
    log.removeHandler(handler)
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count("***") >= 2


def test_text_from_outside_is_one_harmless_line() -> None:
    assert clean("a\x00b\x1b[31m\u202ec\nd\te") == "ab[31mc d e"
    assert len(clean("x" * 10_000)) == 500


def test_a_url_is_shown_without_password_and_query_values() -> None:
    assert without_credentials("postgresql://u:pw@h:1/db?a=b&c=d") == "postgresql://u:***@h:1/db?a=***&c=***"


def test_the_configuration_is_shown_with_secrets_masked() -> None:
    shown = masked({"url": "redis://:pw@h", "smtp": {"password": "x"}, "title": "T"})
    assert shown == {"url": "redis://:***@h", "smtp": {"password": "***"}, "title": "T"}


@pytest.mark.parametrize(("text", "seconds"), [("250ms", 0.25), ("10s", 10), ("1h30m", 5400), ("7d", 604800), (3, 3)])
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "10", "-5s", True, "5 parsecs"])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "250ms"), (10, "10s"), (5400, "1h30m"), (604800, "7d"), (90, "1m30s")]
)
def test_durations_are_written_shortly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
