"""What stands behind ${env:X} and ${file:X}? References in configuration texts and where their values come from."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LARGEST_FILE_BYTES = 64 * 1024


class BrokenReference(Exception):
    """A reference that leads nowhere: a sentence and, where there is one, a suggestion. Never a value."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


def expand(text: str, environ: Mapping[str, str], folder: Path) -> tuple[str, set[str]]:
    """The text with references replaced, and the values that came from outside of it (defaults did not).

    `$${` stands for `${`; relative files are looked for in `folder`. Raises BrokenReference.
    """
    outside: set[str] = set()

    def replace(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        if found[1] is None:
            raise BrokenReference("'${' without '}'", "write '$${' where it is meant literally")
        value, is_outside = _resolve(found[1], environ, folder)
        if is_outside:
            outside.add(value)
        return value

    return (_REFERENCE.sub(replace, text), outside) if "${" in text else (text, outside)


def _resolve(reference: str, environ: Mapping[str, str], folder: Path) -> tuple[str, bool]:
    source, colon, name = reference.partition(":")
    if source == "env" and colon:
        return _from_environment(name, environ)
    if source == "file" and colon:
        return _from_file(name, folder), True
    close = _close_to(source, ("env", "file"))
    if colon and close:
        raise BrokenReference(f"'${{{reference}}}' is no reference", f"did you mean '${{{close[0]}:{name}}}'?")
    hint = f"write '${{env:{reference}}}' for an environment variable, " if _NAME.fullmatch(reference) else ""
    raise BrokenReference(f"'${{{reference[:60]}}}' is no reference", f"{hint}'$${{' where it is meant literally")


def _close_to(word: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    import difflib  # as in `probes.document`

    return difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)


def _from_environment(text: str, environ: Mapping[str, str]) -> tuple[str, bool]:
    name, has_default, default = text.partition(":-")
    if not _NAME.fullmatch(name):
        raise BrokenReference(f"{name[:60]!r} is no name of an environment variable")
    if environ.get(name) or (name in environ and not has_default):
        return environ[name], True
    if has_default:
        return default, False
    close = _close_to(name, environ, 0.8)
    suggestion = f"did you mean {close[0]}?" if close else f"set it, or write '${{env:{name}:-default}}'"
    raise BrokenReference(f"environment variable {name} is not set", suggestion)


def _from_file(name: str, folder: Path) -> str:
    path = folder / name
    try:
        if path.is_file() and path.stat().st_size > LARGEST_FILE_BYTES:
            raise BrokenReference(f"file {path} is larger than {LARGEST_FILE_BYTES // 1024} KB")
        return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise BrokenReference(f"file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BrokenReference(f"file {path} is not UTF-8 text") from None
