"""What is watched, as configured: sites, targets and checks, their ids, who needs whom."""

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from probes.document import Document, KeyPath, Problem, suggest
from probes.expectation import read_expectations
from probes.probe import Probe, kind_named, kinds
from probes.sections import SLUG_WORDS, CheckKeys, Defaults, SiteKeys, TargetKeys, is_slug
from probes.target import Check, Estate, Site, Target, Tier

MAX_RETRY_INTERVAL_S = 5.0


class EstateReader:
    """Reads the section `sites`; what is wrong is added to the list of problems."""

    def __init__(self, document: Document, defaults: Defaults, problems: list[Problem]) -> None:
        self._document = document
        self._defaults = defaults
        self._problems = problems
        self._sites: dict[str, Site] = {}
        self._targets: dict[str, Target] = {}
        self._checks: dict[str, Check] = {}
        self._paths: dict[str, KeyPath] = {}
        self._expects: dict[tuple[str, str], Any] = {}
        self._written: dict[frozenset[str], set[str]] = {}

    def read(self) -> Estate:
        """The estate; of use only if no problem was added."""
        sites = self._document.value.get("sites")
        for name, given in sites.items() if isinstance(sites, dict) else ():
            self._read_site(name, given, ("sites", name))
        self._resolve_needs()
        self._problems += _find_cycles(self._document, self._targets, self._paths)
        return Estate(self._sites, self._targets, self._checks)

    def _read_site(self, name: str, given: Any, path: KeyPath) -> None:
        self._check_id(name, "site", path)
        keys = self._model(SiteKeys, path, given)
        if keys is None:
            # The targets may have mistakes of their own: all are told at once.
            targets = given.get("targets") if isinstance(given, dict) else None
            keys = SiteKeys(targets=targets if isinstance(targets, dict) else {})
        ids = [
            self._read_target(name, target, entry, (*path, "targets", target)) for target, entry in keys.targets.items()
        ]
        self._sites[name] = Site(name, keys.title or name, tuple(ids))

    def _read_target(self, site: str, name: str, given: Any, path: KeyPath) -> str:
        self._check_id(name, "target", path)
        target_id = f"{site}/{name}"
        self._paths[target_id] = path
        keys = self._model(TargetKeys, path, given)
        if keys is None:
            keys = _what_is_sound(given)
        checks = [
            self._read_check(site, name, keys.tier, entry, (*path, "checks", number))
            for number, entry in enumerate(keys.checks)
        ]
        self._targets[target_id] = Target(
            id=target_id,
            site=site,
            name=name,
            title=keys.title or name,
            tier=keys.tier,
            needs=keys.needs,
            soft_needs=keys.soft_needs,
            checks=tuple(check for check in checks if check),
            tags=keys.tags,
        )
        return target_id

    def _read_check(self, site: str, target: str, tier: Tier, given: Any, path: KeyPath) -> str | None:
        if not isinstance(given, dict):
            self._add(path, "a check is keys and values, at least its kind")
            return None
        kind = self._kind(given, path)
        if kind is None:
            return None
        common, options = split_keys(given, kind)
        keys = self._model(CheckKeys, path, common)
        asked = self._model(kind.Options, path, options, CheckKeys.model_fields)
        expect = common.get("expect")
        found = read_expectations(self._document, (*path, "expect"), expect if isinstance(expect, dict) else {}, kind)
        self._problems += found.problems
        expected = self._expected(kind, (*path, "expect"), found.own)
        if keys is None or asked is None or expected is None:
            return None
        fields_set = asked.__pydantic_fields_set__
        same_keys = self._written.setdefault(frozenset(fields_set), fields_set)
        object.__setattr__(asked, "__pydantic_fields_set__", same_keys)  # 0.7 KB a check
        name = (keys.id if "name" in kind.Options.model_fields else keys.name or keys.id) or kind.kind
        check_id = f"{site}/{target}/{name}"
        if check_id in self._checks:
            first = self._document.problem(self._paths[check_id], "")
            self._add(path, f"check {check_id!r} stands here twice, first on line {first.line}", _other_name(kind))
            return None
        self._paths[check_id] = path
        times = self._times(keys, path)
        self._checks[check_id] = Check(
            id=check_id,
            site=site,
            target=f"{site}/{target}",
            name=name,
            tier=tier,
            probe=kind(asked, expected),
            interval_s=times["interval"],
            timeout_s=times["timeout"],
            retry_interval_s=times["retry_interval"],
            fail_after=keys.fail_after or self._defaults.fail_after,
            recover_after=keys.recover_after or self._defaults.recover_after,
            limits=tuple(found.limits),
            notify=self._defaults.notify if keys.notify is None else keys.notify,
            tags=keys.tags,
            status_page=keys.status_page,
        )
        return check_id

    def _expected(self, kind: type[Probe], path: KeyPath, own: dict[str, Any]) -> Any:
        """What is expected; one object for all checks that expect the same, for it is frozen and they are many."""
        key = (kind.kind, repr(own))
        if key not in self._expects:
            expected = self._model(kind.Expect, path, own)
            if expected is None:
                return None
            self._expects[key] = expected
        return self._expects[key]

    def _kind(self, given: Mapping[str, Any], path: KeyPath) -> type[Probe] | None:
        word = given.get("kind")
        if not isinstance(word, str):
            self._add(path, "'kind' is missing", f"one of {', '.join(kinds())}")
            return None
        kind = kind_named(word)
        if kind is None:
            self._add((*path, "kind"), f"unknown kind {word!r}", suggest(word, kinds()))
            return None
        if kind.driver and importlib.util.find_spec(kind.driver) is None:
            extra = kind.extra or word
            self._add((*path, "kind"), f"the driver of kind {word} is missing", f"pip install 'backwatch[{extra}]'")
            return None
        return kind

    def _times(self, keys: CheckKeys, path: KeyPath) -> dict[str, float]:
        interval = keys.interval or self._defaults.interval
        timeout = keys.timeout or self._defaults.timeout
        if timeout > interval:
            if keys.timeout is not None:
                words = f"timeout ({timeout:g} s) is longer than the interval ({interval:g} s)"
                self._add((*path, "timeout"), words)
            elif "timeout" in (self._document.get(("defaults",)) or {}) and keys.interval is None:
                # Both come from defaults: say it once, there.
                words = f"timeout ({timeout:g} s) is longer than the interval ({interval:g} s)"
                self._add(("defaults", "timeout"), words)
            timeout = min(timeout, interval)
        retry = keys.retry_interval or self._defaults.retry_interval or min(interval, MAX_RETRY_INTERVAL_S)
        if retry > interval and keys.retry_interval is not None:
            self._add((*path, "retry_interval"), f"is longer than the interval ({interval:g} s)")
        return {"interval": interval, "timeout": timeout, "retry_interval": min(retry, interval)}

    def _resolve_needs(self) -> None:
        for target_id, target in self._targets.items():
            needs = tuple(self._resolve(target, "needs", target.needs))
            soft_needs = tuple(self._resolve(target, "soft_needs", target.soft_needs))
            self._targets[target_id] = Target(
                id=target_id,
                site=target.site,
                name=target.name,
                title=target.title,
                tier=target.tier,
                needs=needs,
                soft_needs=soft_needs,
                checks=target.checks,
                tags=target.tags,
            )

    def _resolve(self, target: Target, key: str, names: tuple[str, ...]) -> Iterator[str]:
        for number, name in enumerate(names):
            needed = name if "/" in name else f"{target.site}/{name}"
            path = (*self._paths[target.id], key, number)
            if needed == target.id:
                self._add(path, f"{target.id} needs itself")
            elif needed in self._targets:
                yield needed
            else:
                own = {known.name for known in self._targets.values() if known.site == target.site}
                self._add(path, f"there is no target {name!r}", suggest(name, {*self._targets} if "/" in name else own))

    def _check_id(self, name: str, noun: str, path: KeyPath) -> None:
        if not is_slug(name):
            self._add(path, f"{name!r} is no {noun} id: {SLUG_WORDS}", "put the name for people into title")

    def _model(self, model: Any, path: KeyPath, given: Any, also_known: Iterable[str] = ()) -> Any:
        found, problems = self._document.validate(model, path, given, also_known)
        self._problems += problems
        return found

    def _add(self, path: KeyPath, message: str, suggestion: str = "") -> None:
        self._problems.append(self._document.problem(path, message, suggestion))


def split_keys(given: Mapping[str, Any], kind: type[Probe]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys that every check has, and those of the kind; a key that both have belongs to the kind."""
    own = kind.Options.model_fields
    common = {key: value for key, value in given.items() if key in CheckKeys.model_fields and key not in own}
    return common, {key: value for key, value in given.items() if key not in common}


def _what_is_sound(given: Any) -> TargetKeys:
    """Of a target with mistakes: enough to find the mistakes in its checks and in what it needs."""
    lists = {key: given.get(key) if isinstance(given, dict) else None for key in ("checks", "needs", "soft_needs")}
    sound: dict[str, Any] = {key: tuple(value) for key, value in lists.items() if isinstance(value, list)}
    for key in ("needs", "soft_needs"):
        sound[key] = tuple(name for name in sound.get(key, ()) if isinstance(name, str))
    return TargetKeys(tier=Tier.APP, **sound)


def _other_name(kind: type[Probe]) -> str:
    return f"give it another {'id' if 'name' in kind.Options.model_fields else 'name'}"


def _find_cycles(document: Document, targets: Mapping[str, Target], paths: Mapping[str, KeyPath]) -> Iterator[Problem]:
    """One problem a circle of hard needs, told as the circle."""
    done: set[str] = set()
    for start in targets:
        trail: list[str] = []
        stack: list[tuple[str, int]] = [(start, 0)] if start not in done else []
        while stack:
            current, number = stack.pop()
            if number == 0:
                trail.append(current)
            needs = targets[current].needs
            if number == len(needs):
                trail.pop()
                done.add(current)
                continue
            stack.append((current, number + 1))
            needed = needs[number]
            if needed in trail:
                circle = [*trail[trail.index(needed) :], needed]
                yield document.problem((*paths[current], "needs"), f"needs go in a circle: {' → '.join(circle)}")
            elif needed not in done:
                stack.append((needed, 0))
