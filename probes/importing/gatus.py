"""What configuration watches what a Gatus watches? Its endpoints as checks, their conditions as expectations."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from probes.duration import parse_duration
from probes.importing.draft import Draft, duration, literal, slug, tier_of, unlike
from probes.importing.foreign_yaml import read_mapping
from probes.importing.gatus_condition import Conditions
from probes.redact import is_secret_key

Check = dict[str, Any]
UNGROUPED = "Imported"
_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)")
_NOT_ASKED = {"icmp": "there is no ICMP check", "udp": "UDP is not asked", "sctp": "SCTP is not asked"}
_ONLY_PORT = {"ws": 80, "wss": 443, "grpc": 80, "grpcs": 443, "starttls": 25}
_LOST_SECTIONS = ("suites", "tunneling", "remote", "announcements", "connectivity")


def read_gatus(source: Path, folder: Path) -> Draft:
    """The configuration for a Gatus file or folder. Raises DraftError for what is none."""
    draft = Draft(f"Gatus ({source.name})", folder=folder)
    config = read_mapping(source, "Gatus")
    _read_alerting(draft, config.get("alerting") or {})
    defaults = (config.get("endpoint-defaults") or {}) if isinstance(config.get("endpoint-defaults"), dict) else {}
    for endpoint in config.get("endpoints") or ():
        _read_endpoint(draft, {**defaults, **endpoint})
    for endpoint in config.get("external-endpoints") or ():
        _read_external(draft, endpoint)
    for section in _LOST_SECTIONS:
        if config.get(section):
            draft.lose(section, "is not brought over", whole=True)
    if config.get("maintenance"):
        draft.lose("maintenance", "its window is not brought over: see `maintenance` in the documentation", whole=True)
    return draft


def _read_endpoint(draft: Draft, endpoint: Check) -> None:
    name = str(endpoint.get("name") or endpoint.get("url") or "unnamed")
    if endpoint.get("enabled") is False:
        draft.lose(name, "it is not enabled", whole=True)
        return
    check = _check(draft, name, endpoint)
    if check is None:
        return
    conditions = Conditions(check["kind"])
    for condition in endpoint.get("conditions") or ():
        if why := conditions.read(str(condition)):
            draft.lose(name, f"condition {condition}: {why}")
    expect = {key: _deep(value) for key, value in conditions.expect.items()}
    if expect:
        check["expect"] = {**check.get("expect", {}), **expect}
    _place(draft, name, endpoint, check)


def _place(draft: Draft, name: str, endpoint: Check, check: Check) -> None:
    site = draft.site(str(endpoint.get("group") or UNGROUPED))
    port = re.search(r":([0-9]+)$", str(check.get("url", ""))) if check["kind"] == "tcp" else None
    draft.add(site, name, tier_of(check["kind"], int(port[1]) if port else None), [check])


def _check(draft: Draft, name: str, endpoint: Check) -> Check | None:
    url = str(endpoint.get("url") or "")
    scheme = url.partition("://")[0] if "://" in url else ""
    times = _times(draft, name, endpoint)
    if isinstance(asked := endpoint.get("dns"), dict):
        server, _, port = url.removeprefix("dns://").removeprefix("udp://").removeprefix("tcp://").partition(":")
        check = {"kind": "dns", "name": str(asked.get("query-name", "")).rstrip("."), "server": _text(server)}
        return check | {"type": str(asked.get("query-type") or "A")} | ({"port": int(port)} if port else {}) | times
    if scheme in ("http", "https"):
        return _http(draft, name, endpoint, url) | times
    if scheme in ("tcp", "tls", "ssh"):
        place = url.removeprefix("ssh://")
        if scheme == "ssh":
            draft.lose(name, "the greeting of the SSH server is asked for, no log-in")
            place = f"tcp://{place if ':' in place else f'{place}:22'}"
        check = {"kind": "tls" if scheme == "tls" else "tcp", "url": _text(place)}
        return check | ({"expect": {"answer": "SSH-"}} if scheme == "ssh" else {}) | times
    if scheme in _ONLY_PORT:
        parts = urlsplit(url)
        draft.lose(name, f"there is no check for {scheme}: only the port is asked")
        return {"kind": "tcp", "url": f"tcp://{parts.hostname}:{parts.port or _ONLY_PORT[scheme]}"} | times
    draft.lose(name, _NOT_ASKED.get(scheme, f"there is no check for {scheme or url}"), whole=True)
    return None


def _http(draft: Draft, name: str, endpoint: Check, url: str) -> Check:
    check: Check = {"kind": "http", "url": _text(url) if _VARIABLE.search(url) else draft.url(f"{name}-url", url)}
    if (method := str(endpoint.get("method") or "GET").upper()) != "GET":
        check["method"] = method
    headers = {str(key): str(value) for key, value in (endpoint.get("headers") or {}).items()}
    body = endpoint.get("body")
    if endpoint.get("graphql") and body is not None:
        body, headers = json.dumps({"query": body}), {"Content-Type": "application/json", **headers}
    if body is not None:
        check["body"] = _text(str(body))
    if headers:
        check["headers"] = {key: _value(draft, f"{name}-{key}", key, value) for key, value in headers.items()}
    client = endpoint.get("client") or {}
    if client.get("insecure"):
        check["verify"] = False
    if client.get("ignore-redirect"):
        check["max_redirects"] = 0
    if client.get("proxy-url"):
        check["proxy"] = draft.url(f"{name}-proxy", str(client["proxy-url"]))
    tls = client.get("tls") or {}
    for key, file in (("client_cert_file", "certificate-file"), ("client_key_file", "private-key-file")):
        if tls.get(file):
            check[key] = str(tls[file])
    for key in ("oauth2", "identity-aware-proxy", "tunnel", "dns-resolver"):
        if client.get(key):
            draft.lose(name, f"client.{key} is not brought over: the check asks without it")
    return check


def _value(draft: Draft, name: str, key: str, value: str) -> str:
    if is_secret_key(key) and not _VARIABLE.search(value):
        return draft.secret(name, value)
    return _text(value)


def _times(draft: Draft, name: str, endpoint: Check) -> Check:
    interval = _seconds(endpoint.get("interval"), 60.0)
    timeout = min(_seconds((endpoint.get("client") or {}).get("timeout"), 10.0), interval)
    times: Check = {"interval": duration(interval), "timeout": duration(timeout)}
    alerts = [one for one in endpoint.get("alerts") or () if isinstance(one, dict) and one.get("enabled") is not False]
    if alerts:
        times["fail_after"] = min(int(one.get("failure-threshold") or 3) for one in alerts)
        times["recover_after"] = min(int(one.get("success-threshold") or 2) for one in alerts)
        names = [one["type"] for one in alerts if one.get("type") in draft.notifiers]
        if names:
            times["notify"] = list(dict.fromkeys(names))
        for one in alerts:
            if one.get("type") not in draft.notifiers:
                draft.lose(name, f"nobody is told through {one.get('type')}: there is no such notifier")
    return times


def _seconds(text: Any, default: float) -> float:
    try:
        return parse_duration(text) if text else default
    except ValueError:
        return default


def _read_external(draft: Draft, endpoint: Check) -> None:
    name = str(endpoint.get("name") or "unnamed")
    heartbeat = endpoint.get("heartbeat") or {}
    if endpoint.get("enabled") is False or not heartbeat.get("interval"):
        draft.lose(name, "it is switched off, or says not how often it calls (heartbeat.interval)", whole=True)
        return
    token = str(endpoint.get("token") or "")
    check: Check = {"kind": "heartbeat", "period": duration(_seconds(heartbeat["interval"], 3600.0))}
    check["token"] = _text(token) if _VARIABLE.search(token) else draft.secret(f"{name}-token", token)
    draft.lose(name, "its job must call /push/<the same token> on this server from now on")
    _place(draft, name, endpoint, check)


def _read_alerting(draft: Draft, alerting: Check) -> None:
    for kind, options in alerting.items():
        if kind != "email" or not isinstance(options, dict) or not options.get("to"):
            draft.lose(f"alerting.{kind}", "there is no such notifier: a webhook or mail may reach the same people")
            continue
        port = int(options.get("port") or 587)
        smtp: Check = {"host": _text(str(options.get("host", ""))), "port": port}
        smtp["security"] = "tls" if port == 465 else "starttls"
        if options.get("password"):
            password = str(options["password"])
            smtp["username"] = _text(str(options.get("username") or options.get("from")))
            smtp["password"] = _value(draft, "email-password", "password", password)
        people = [_text(one.strip()) for one in str(options["to"]).split(",")]
        sender = {"from": _text(str(options["from"]))} if options.get("from") else {}
        name = unlike(slug(kind), draft.notifiers)
        draft.notifiers[name] = {"kind": "email", "to": people, **sender, "smtp": smtp}


def _text(text: str) -> str:
    """A text with Gatus' variables as ours."""
    parts, end = [], 0
    for found in _VARIABLE.finditer(text):
        name = found[1] or found[2]
        parts += [literal(text[end : found.start()]), f"${{env:{name}}}" if name else "$"]
        end = found.end()
    return "".join([*parts, literal(text[end:])])


def _deep(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {key: _deep(entry) for key, entry in value.items()}
    return [_deep(entry) for entry in value] if isinstance(value, list) else value
