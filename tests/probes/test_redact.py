"""What is shown is harmless and says no secret."""

import base64
import io
import json
import logging
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.redact import Redactor, SecretFilter, clean, is_secret_key, mask_url

SECRET = "S3cr3t/Canary+1 ü\"'"


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "shown",
    [SECRET, quote(SECRET, safe=""), quote(SECRET), quote_plus(SECRET), json.dumps(SECRET), basic(SECRET)],
    ids=["raw", "url", "path", "form", "json", "base64"],
)
def test_a_secret_is_masked_in_every_coat(shown: str) -> None:
    masked = Redactor([SECRET]).mask(f"before {shown} after")
    assert "***" in masked
    assert "Canary" not in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")


@given(st.text("ab:_", max_size=7), st.text("xyz0189!", min_size=6, max_size=20), st.text("ab", max_size=5))
def test_a_secret_inside_basic_authentication_is_masked(user: str, secret: str, after: str) -> None:
    header = basic(f"{user}{secret}{after}")
    masked = Redactor([secret]).mask(f"Authorization: Basic {header}")
    assert "***" in masked
    # What is left of the encoding decodes to nothing of the secret but its edges, which are shared with other bytes.
    kept = masked.removeprefix("Authorization: Basic ").split("***")
    assert sum(map(len, kept)) <= len(header) - len(secret)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("AUTH S3cr3t-Can…", "AUTH ***…"),
        ("said “AUTH S3cr3t-Can…”, and S3cr…", "said “AUTH ***…”, and ***…"),
        ("Basic UzNjcjN0LU…", "Basic ***…"),
        ("S3cS3cr3t-C…", "S3c***…"),
        ("nothing secret…", "nothing secret…"),
        ("S3cr3t-Can is no cut", "S3cr3t-Can is no cut"),
        ("…" * 20_000 + "S3cr3t-Can…", "…" * 20_000 + "***…"),
    ],
    ids=["end", "amid", "base64", "twice", "none", "no mark", "many"],
)
@pytest.mark.timeout(5)
def test_the_beginning_of_a_secret_before_a_cut_is_masked(text: str, shown: str) -> None:
    assert Redactor(["S3cr3t-Canary-" + "x" * 400, *(f"another-{n}-secret" for n in range(50))]).mask(text) == shown


def test_a_cut_is_marked_wherever_it_was_made() -> None:
    assert clean("a" * 30 + " " * 60 + "S3cr3t", 20) == "a" * 19 + "…"
    assert clean("ab" + " " * 90 + "S3cr3t", 20) == "ab…"


def test_short_words_are_not_masked() -> None:
    assert Redactor(["local", "", "a"]).mask("a local word") == "a local word"


def test_the_longer_secret_is_masked_whole() -> None:
    assert Redactor(["secret", "secret-and-more"]).mask("x secret-and-more y") == "x *** y"


def test_nested_values_are_masked_by_content_and_by_name() -> None:
    value = {
        "url": "redis://u:pw@h/0",
        "smtp": {"password": "x", "port": 25},
        "list": ["is S3cr3tCanary"],
        "title": "T",
    }
    assert Redactor(["S3cr3tCanary"]).mask_all(value) == {
        "url": "redis://u:***@h/0",
        "smtp": {"password": "***", "port": 25},
        "list": ["is ***"],
        "title": "T",
    }


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        ("password", True),
        ("smtp_password", True),
        ("Authorization", True),
        ("X-Api-Key", True),
        ("hook_secret", True),
        ("secret", True),
        ("token", True),
        ("Cookie", True),
        ("title", False),
        ("tokens_left", False),
        ("key_file", False),
    ],
)
def test_names_of_secrets(name: str, is_secret: bool) -> None:
    assert is_secret_key(name) is is_secret


def test_urls_are_shown_without_passwords() -> None:
    assert (
        mask_url("at postgresql://u:p%40w@h:1/db?x=1 and http://h/") == "at postgresql://u:***@h:1/db?x=1 and http://h/"
    )


def test_log_lines_arguments_extras_and_tracebacks_are_masked() -> None:
    secret = "S3cr3t" + "Canary"
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(dsn)s"))
    handler.addFilter(SecretFilter(Redactor([secret])))
    log = logging.getLogger("tests.redact")
    log.propagate = False
    log.addHandler(handler)
    try:
        raise ValueError(f"connect with {secret}")
    except ValueError:
        log.exception("failed for %s", secret, extra={"dsn": f"u:{secret}@h"})
    finally:
        log.removeHandler(handler)
    assert secret not in stream.getvalue()
    assert stream.getvalue().count("***") == 3
    assert "Traceback" in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x1b[31m\x9bc", "ab[31mc"),
        ("one\r\ntwo\tthree\u2028four", "one two three four"),
        ("user\u202egnp.exe", "usergnp.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("  e\u0301  ", "é"),
        ("\ud800x", "x"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
    ids=["controls", "lines", "direction", "invisible", "composed", "surrogate", "markup is the page's business"],
)
def test_text_from_outside_is_one_harmless_line(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text(), st.integers(1, 50))
def test_clean_text_is_short_and_stays_as_it_is(text: str, limit: int) -> None:
    once = clean(text, limit)
    assert len(once) <= limit
    assert clean(once, limit) == once
    assert once.isprintable() or not any(ord(char) < 32 for char in once)


def test_a_huge_text_is_cut_quickly() -> None:
    assert clean("x" * 10_000_000) == "x" * 499 + "…"
