"""YAML is read as a safe subset: it means what it says, nothing explodes, references are filled in and kept secret."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from probes.document import ConfigError, read_document, suggest, write_path
from probes.yaml_text import read_yaml


def read(folder: Path, text: str, **environ: str) -> Any:
    path = folder / "backwatch.yaml"
    path.write_text(text)
    return read_document(path, environ)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("no", "no"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("12:30:45", "12:30:45"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("42", 42),
        ("-3", -3),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("'42'", "42"),
        ('"true"', "true"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_words_mean_what_they_say(text: str, value: object) -> None:
    reading = read_yaml(f"key: {text}".encode())
    assert (reading.value, reading.flaws) == ({"key": value}, [])
    assert type(reading.value["key"]) is type(value)


def test_keys_are_texts_and_know_their_lines() -> None:
    reading = read_yaml(b"# remark\n200: a\non:\n  - x\n  - {y: 1}\n")
    assert reading.value == {"200": "a", "on": ["x", {"y": 1}]}
    assert reading.lines == {("200",): 2, ("on",): 3, ("on", 0): 4, ("on", 1): 5, ("on", 1, "y"): 5}


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.text("abcäöü €:#{}[]&*!|>'\"%@`-?,\n\\0~", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcd", min_size=1, max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), PLAIN, max_size=4))
def test_what_is_dumped_is_read_back(value: dict[str, Any]) -> None:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, _data: Any) -> bool:
            return True

    reading = read_yaml(yaml.dump(value, Dumper=Plain, allow_unicode=True).encode())
    assert (reading.value, reading.flaws, reading.complete) == (value, [], True)


@given(st.binary(max_size=200) | st.text(":-[]{}&*!|>'\"%@`?, \nab", max_size=60).map(str.encode))
def test_any_bytes_are_a_value_or_a_flaw(data: bytes) -> None:
    reading = read_yaml(data)
    assert reading.complete or reading.flaws
    assert all(flaw.line >= 1 and flaw.message for flaw in reading.flaws)


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    reading = read_yaml("\n".join(lines).encode())
    assert "anchors" in reading.flaws[0].message
    assert len(repr(reading.value)) < 10_000


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "], ids=["list", "mapping", "dashes", "keys"])
def test_deep_nesting_is_refused_at_once(opening: str) -> None:
    started = time.monotonic()
    assert read_yaml(opening.encode() * 100_000).flaws
    assert time.monotonic() - started < 2


def test_twenty_levels_are_read() -> None:
    assert read_yaml(b"a: " + b"[" * 19 + b"]" * 19).flaws == []
    assert "deeper than 20" in read_yaml(b"a: " + b"[" * 20 + b"]" * 20).flaws[0].message


def test_a_large_file_is_refused() -> None:
    assert "larger than 5 MB" in read_yaml(b"a: " + b"x" * (5 << 20)).flaws[0].message
    assert read_yaml(b"a: " + b"x" * (4 << 20)).flaws == []


def test_text_that_is_not_utf8_says_on_which_line() -> None:
    (flaw,) = read_yaml(b"a: 1\nb: \xff\n").flaws
    assert (flaw.line, flaw.message) == (2, "the file is not UTF-8 text")


def test_a_byte_order_mark_and_windows_lines_are_read() -> None:
    assert read_yaml(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n").value == {"a": 1, "b": 2}


def test_references_are_filled_in_and_kept_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    document = read(
        tmp_path, 'a: "${env:X}/${file:secret}/${env:Y:-fallback}"\nb: {password: in-the-open}', X="from-env"
    )
    assert document.value["a"] == "from-env/from-a-file/fallback"
    assert document.secrets == {"from-env", "from-a-file", "in-the-open"}
    assert "from-env" not in repr(document)


@pytest.mark.parametrize(
    ("text", "environ", "value"),
    [
        ("${env:X:-}", {}, ""),
        ("${env:X:-a:-b}", {}, "a:-b"),
        ("${env:X:-d}", {"X": ""}, "d"),
        ("${env:X}", {"X": ""}, ""),
        ("$${env:X}", {"X": "1"}, "${env:X}"),
        ("$5 and $", {}, "$5 and $"),
        ("${env:X}", {"X": "${env:Y}"}, "${env:Y}"),
    ],
)
def test_references_in_detail(tmp_path: Path, text: str, environ: dict[str, str], value: str) -> None:
    assert read(tmp_path, f"a: '{text}'", **environ).value["a"] == value


def test_a_value_of_the_environment_cannot_add_keys(tmp_path: Path) -> None:
    assert read(tmp_path, 'a: "${env:X}"', X="1\nb: {c: 2}").value == {"a": "1\nb: {c: 2}"}


def test_passwords_in_urls_and_under_telling_names_are_secrets(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        "a: redis://u:url-password@h/0\nb: {api_key: key-value, X-Auth-Token: token-value}\n"
        "headers: {Authorization: Bearer bearer-value}\nport: 16379\ntitle: nothing-secret",
    )
    assert {"url-password", "key-value", "token-value", "bearer-value"} <= document.secrets
    assert not any("nothing" in secret or "16379" in secret for secret in document.secrets)


def test_files_with_syntax_errors_are_all_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [1\n")
    (tmp_path / "b.yaml").write_text("b: {1\n")
    with pytest.raises(ConfigError) as caught:
        read_document(tmp_path)
    assert [Path(problem.file).name for problem in caught.value.problems] == ["a.yaml", "b.yaml"]


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("intervall", ["interval", "timeout"], "did you mean 'interval'?"),
        ("TIMEOUT", ["interval", "timeout"], "did you mean 'timeout'?"),
        ("zzz", ["interval", "timeout"], "known: interval, timeout"),
        ("zzz", [str(n) for n in range(50)], ""),
    ],
)
def test_suggestions(word: str, known: list[str], said: str) -> None:
    assert suggest(word, known) == said


def test_paths_are_written_as_people_read_them() -> None:
    assert write_path(("sites", "shop", "checks", 0, "url")) == "sites.shop.checks[0].url"
