"""What is to be written? A configuration in the making: sites, checks, notifiers, secrets, and what was left behind."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from probes.document import ConfigError, Problem
from probes.duration import format_duration, parse_duration
from probes.redact import clean, is_secret_key
from probes.sections import is_slug

FOLDER = "backwatch-secrets"
_SECRET_QUERY = re.compile(r"[?&]([^=&#]+)=")
_KEYS = ("database", "defaults", "sites", "notifiers", "routes", "maintenance")


class DraftError(Exception):
    """A configuration cannot be written; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that could not be brought over: of what, and why. `whole` where nothing of it was."""

    name: str
    why: str
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {'left out: ' if self.whole else ''}{self.why}"


@dataclass(frozen=True, slots=True)
class Written:
    """Whether a file was written (False: it stood there already), and what has still to be seen to."""

    new: bool
    warnings: tuple[str, ...]


@dataclass(slots=True)
class Draft:
    """A configuration in the making. Secrets go into files of their own beside it and are only named in it."""

    origin: str
    secret_folder: str = FOLDER
    defaults: dict[str, Any] = field(default_factory=dict)
    sites: dict[str, dict[str, Any]] = field(default_factory=dict)
    notifiers: dict[str, dict[str, Any]] = field(default_factory=dict)
    maintenance: list[dict[str, Any]] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    losses: list[Loss] = field(default_factory=list)
    folder: Path = field(default_factory=Path)

    def lose(self, name: str, why: str, *, whole: bool = False) -> None:
        """Tell that something was not brought over; said once, however often it is met."""
        loss = Loss(clean(name, 120), clean(why, 1000), whole)
        if loss not in self.losses:
            self.losses.append(loss)

    def site(self, title: str) -> str:
        """The id of the site with this title, made where there is none yet."""
        name = slug(title)
        self.sites.setdefault(name, {"title": literal(clean(title, 200)), "targets": {}})
        return name

    def add(self, site: str, title: str, tier: str, checks: list[dict[str, Any]], target: str | None = None) -> str:
        """Add a target with its checks to a site; returns its name, which is unlike that of any other there."""
        targets = self.sites[site]["targets"]
        name = unlike(target or slug(title), targets)
        entry: dict[str, Any] = {"tier": tier, "checks": checks}
        targets[name] = {"title": literal(clean(title, 200)), **entry} if name != title else entry
        return name

    def secret(self, name: str, value: str) -> str:
        """Keep a secret in a file; returns the reference that stands for it in the configuration."""
        file = slug(name)
        number = 2
        while self.secrets.get(file, value) != value:
            file, number = f"{slug(name)[:58]}-{number}", number + 1
        self.secrets[file] = value
        return f"${{file:{self.secret_folder}/{file}}}"

    def secret_path(self, name: str, value: str) -> str:
        """Keep a secret in a file, for options that want a path and not a value."""
        self.secret(name, value)
        return str((self.folder / self.secret_folder / slug(name)).absolute())

    def url(self, name: str, url: str) -> str:
        """A URL as it is written: one that holds a password or a key goes into a file as a whole."""
        parts = urlsplit(url)
        secret = parts.password is not None or any(is_secret_part(key) for key in _SECRET_QUERY.findall(url))
        return self.secret(name, url) if secret else literal(url)

    def headers(self, name: str, headers: Mapping[str, str]) -> dict[str, str]:
        """Request headers as they are written: tokens and cookies go into files."""
        return {
            key: self.secret(f"{name}-{key}", value) if is_secret_key(key) else literal(value)
            for key, value in headers.items()
        }

    def remove(self, site: str, target: str, why: str) -> None:
        """Take a target out again, and tell so."""
        entry = self.sites.get(site, {}).get("targets", {}).pop(target, None)
        if entry is not None:
            self.lose(entry.get("title", target), why, whole=True)

    def remove_notifier(self, name: str, why: str) -> None:
        """Take a notifier out again, and tell so."""
        self.notifiers.pop(name, None)
        self.lose(f"notification {name}", why, whole=True)
        for site in self.sites.values():
            for target in site["targets"].values():
                for check in target["checks"]:
                    left = [one for one in check.pop("notify", []) if one != name]
                    if left:
                        check["notify"] = left

    @property
    def checks(self) -> int:
        """How many checks there are."""
        return sum(len(target["checks"]) for site in self.sites.values() for target in site["targets"].values())

    def to_yaml(self) -> str:
        """The text of the configuration; what was left behind stands at its end."""
        for name in [name for name, site in self.sites.items() if not site["targets"]]:
            del self.sites[name]
        parts = {name: getattr(self, name, None) for name in _KEYS}
        body = yaml.dump(
            {name: part for name, part in parts.items() if part},
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            width=110,
            default_flow_style=False,
        )
        head = (
            f"# Brought over from {self.origin} by `backwatch import`.\n"
            "# Two things only you know: the tier of each target was guessed from its kind, and `needs: [db, cache]`\n"
            "# tells what a target stands on, so that the deepest failure takes the blame.\n"
            "# Check this file: backwatch config check     Ask everything now: backwatch probe\n\n"
        )
        tail = "".join(f"#   {loss}\n" for loss in self.losses)
        return head + body + (f"\n# What could not be brought over:\n{tail}" if tail else "")


def write_draft(draft: Draft, path: Path, load: Callable[[Path], object]) -> Written:
    """Write the configuration (mode 0640) and its secrets (0600) so that `load` takes it.

    What `load` does not take is taken out and told. Raises DraftError where another configuration, or another value
    of a secret, stands there already: nothing is overwritten.
    """
    created = _write_secrets(draft, path.parent / draft.secret_folder)
    part = path.with_name(f".{path.name}.part")
    try:
        warnings = _make_loadable(draft, part, load)
        text = draft.to_yaml()
        if path.exists():
            if path.read_text(encoding="utf-8") != text:
                raise DraftError(f"{path} exists already and is left as it is; name another file with -o")
            return Written(False, warnings)
        os.link(part, path)
    except DraftError:
        for file in created:
            file.unlink(missing_ok=True)
        raise
    finally:
        part.unlink(missing_ok=True)
    for file in created:
        if file.name not in text:  # of a check that was taken out
            file.unlink()
    return Written(True, warnings)


def _make_loadable(draft: Draft, part: Path, load: Callable[[Path], object]) -> tuple[str, ...]:
    while True:
        part.unlink(missing_ok=True)
        _create(part, draft.to_yaml(), 0o640)
        try:
            load(part)
        except ConfigError as error:
            left = [problem for problem in error.problems if not _take_out(draft, problem)]
            if len(left) == len(error.problems):
                return tuple(_say(problem) for problem in left)
        else:
            return ()


def _take_out(draft: Draft, problem: Problem) -> bool:
    """Take out what a problem is about; False where it is about what is missing here, or about no part of it."""
    if "driver" in problem.message or "environment variable" in problem.message:
        return False
    for site, entry in draft.sites.items():
        for target in list(entry["targets"]):
            if _is_below(problem.path, f"sites.{site}.targets.{target}"):
                draft.remove(site, target, _say(problem))
                return True
    for name in list(draft.notifiers):
        if _is_below(problem.path, f"notifiers.{name}"):
            draft.remove_notifier(name, _say(problem))
            return True
    for index, window in enumerate(draft.maintenance):
        if _is_below(problem.path, f"maintenance[{index}]"):
            draft.maintenance.remove(window)
            draft.lose("maintenance", _say(problem), whole=True)
            return True
    return False


def _is_below(path: str, parent: str) -> bool:
    return path == parent or path.startswith((f"{parent}.", f"{parent}["))


def _say(problem: Problem) -> str:
    return f"{problem.path}: {problem.message}" + (f" ({problem.suggestion})" if problem.suggestion else "")


def _write_secrets(draft: Draft, folder: Path) -> list[Path]:
    differing = [
        name
        for name, value in draft.secrets.items()
        if (folder / name).exists() and (folder / name).read_text(encoding="utf-8") != value
    ]
    if differing:
        raise DraftError(
            f"{folder} holds other secrets of these names already ({', '.join(differing[:3])}): nothing was written; "
            "move that folder away first"
        )
    new = {folder / name: value for name, value in draft.secrets.items() if not (folder / name).exists()}
    for file, value in new.items():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(file, value, 0o600)
    return list(new)


def _create(path: Path, text: str, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise DraftError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
        out.write(text)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - our reader knows no anchors
        return True


def is_secret_part(key: str) -> bool:
    """Whether a part of a URL's query is a secret by its name."""
    return is_secret_key(key) or key.lower() in ("key", "sig", "signature", "auth", "pass", "pwd", "code")


def slug(text: str) -> str:
    """A name for people as an id: `Shop front (EU)` → `shop-front-eu`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", plain).strip("-._")[:60].rstrip("-._")
    return name if is_slug(name) else "unnamed"


def unlike(name: str, taken: Iterable[str]) -> str:
    """The name, with a number where it is taken."""
    known, number, free = set(taken), 2, name
    while free in known:
        free, number = f"{name[:58]}-{number}", number + 1
    return free


def literal(text: str) -> str:
    """A text that means itself: `${` would be a reference."""
    return text.replace("${", "$${")


def duration(seconds: float) -> str:
    """A duration as it is written, exactly: `90s`, not `1m30s`, where two units would cut it."""
    short = format_duration(seconds)
    return short if abs(parse_duration(short) - seconds) < 1e-9 else f"{seconds:g}s"


def status_patterns(codes: Iterable[tuple[int, int]]) -> list[str] | None:
    """Ranges of status codes as `2xx` and `200`; None where there are too many single ones to write down."""
    found: list[str] = []
    for first, last in codes:
        code = max(first, 100)
        while code <= min(last, 599):
            if code % 100 == 0 and code + 99 <= last:
                found.append(f"{code // 100}xx")
                code += 100
            else:
                found.append(str(code))
                code += 1
    unique = list(dict.fromkeys(found))
    return unique if unique and len(unique) <= 40 else None


def tier_of(kind: str, port: int | None = None) -> str:
    """The tier that a kind of check, or a well-known port, speaks for: a guess."""
    by_port = {5432: "database", 3306: "database", 1433: "database", 27017: "database", 1521: "database"}
    by_port |= {6379: "cache", 11211: "cache", 5672: "queue", 5671: "queue", 9092: "queue", 1883: "queue"}
    by_port |= {80: "web", 443: "web"}
    by_kind = {"http": "web", "postgresql": "database", "mysql": "database", "redis": "cache", "dns": "host"}
    by_kind |= {"heartbeat": "host", "tls": "web", "memcached": "cache"}
    return by_port.get(port or 0) or by_kind.get(kind, "app")
