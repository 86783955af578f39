"""Which check asks what a monitor of Uptime Kuma asks? One function a type of monitor."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from probes.importing.draft import Draft, duration, literal, status_patterns
from probes.importing.kuma_file import Row, read_json

Check = dict[str, Any]
Translate = Callable[[Draft, Row], "list[Check]"]

_PLAIN_PATH = re.compile(r"\$?(\.?[A-Za-z_][A-Za-z0-9_]*|\[[0-9]+\])*")
_BODY_SECRET = re.compile(r"(?i)passw|secret|token|api_?key")
_CONTENT_TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded", "xml": "text/xml"}
_NOT_ASKED = {
    "ping": "Backwatch has no ICMP check",
    "tailscale-ping": "Backwatch has no Tailscale check",
    "docker": "Backwatch does not ask container engines",
    "steam": "a game server answers over UDP, which no check asks",
    "gamedig": "a game server answers over UDP, which no check asks",
    "radius": "RADIUS answers over UDP, which no check asks",
    "snmp": "SNMP answers over UDP, which no check asks",
    "ntp": "NTP answers over UDP, which no check asks",
    "sip-options": "SIP is not asked by any check",
    "manual": "it is set by hand and asks nothing",
    "system-service": "Backwatch does not ask the service manager",
}


def translate(draft: Draft, row: Row) -> list[Check]:
    """The checks for a monitor, without times and notifiers; none where it cannot be brought over, which is told."""
    name, kind = row["name"], row["type"]
    if not row.get("active", 1):
        draft.lose(name, "it is paused", whole=True)
    elif row.get("upside_down"):
        draft.lose(name, "it is upside down (up is bad): no check can mean that", whole=True)
    elif kind in _TYPES:
        if read_json(row.get("conditions"), []):
            draft.lose(name, "its conditions on the answer are not brought over: see `expect`")
        if row.get("domain_expiry_notification"):
            draft.lose(name, "the expiry of the domain is not watched")
        return _TYPES[kind](draft, row)
    else:
        draft.lose(name, _NOT_ASKED.get(kind, f"there is no check for type {kind}"), whole=True)
    return []


def _http(draft: Draft, row: Row) -> list[Check]:
    name = row["name"]
    url = row["url"] or ""
    check: Check = {"kind": "http", "url": draft.url(f"{name}-url", url)}
    if (row.get("method") or "GET") != "GET":
        check["method"] = row["method"]
    headers = read_json(row.get("headers"), {})
    headers = {str(key): str(value) for key, value in headers.items()} if isinstance(headers, dict) else {}
    if body := row.get("body"):
        check["body"] = draft.secret(f"{name}-body", body) if _BODY_SECRET.search(body) else literal(body)
        if "content-type" not in {key.lower() for key in headers}:
            headers["Content-Type"] = _CONTENT_TYPES.get(row.get("http_body_encoding") or "json", "application/json")
    if headers:
        check["headers"] = draft.headers(name, headers)
    check |= _credentials(draft, row) | _transport(draft, row)
    expect: Check = {}
    accepted = read_json(row.get("accepted_statuscodes_json"), ["200-299"])
    patterns = status_patterns(_ranges(accepted))
    if patterns is None:
        draft.lose(name, f"accepted status codes {', '.join(map(str, accepted))} cannot be written down: 2xx holds")
    elif patterns != ["2xx"]:
        expect["status"] = patterns
    if url.startswith("https:") and row.get("expiry_notification"):
        expect["certificate_days_left"] = {"degraded": row["tls_expiry_days"]}
    return [check | ({"expect": expect} if expect else {})]


def _ranges(accepted: list[Any]) -> list[tuple[int, int]]:
    found = []
    for text in map(str, accepted):
        first, _, last = text.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found.append((int(first), int(last or first)))
    return found


def _credentials(draft: Draft, row: Row) -> Check:
    name, method = row["name"], row.get("auth_method")
    user, password = row.get("basic_auth_user"), row.get("basic_auth_pass")
    if method in (None, "", "basic") and user:
        secret = draft.secret(f"{name}-password", password or "")
        return {"auth": {"scheme": "basic", "username": literal(user), "password": secret}}
    if method == "bearer" and row.get("bearer_token"):
        return {"auth": {"scheme": "bearer", "token": draft.secret(f"{name}-token", row["bearer_token"])}}
    if method == "mtls" and row.get("tls_cert"):
        check = {"client_cert_file": draft.secret_path(f"{name}-client-cert", row["tls_cert"])}
        if row.get("tls_key"):
            check["client_key_file"] = draft.secret_path(f"{name}-client-key", row["tls_key"])
        if row.get("tls_ca"):
            check["ca_file"] = draft.secret_path(f"{name}-ca", row["tls_ca"])
        return check
    if method not in (None, "", "basic", "bearer", "mtls"):
        draft.lose(name, f"log-in by {method} is not brought over: the check asks without it")
    return {}


def _transport(draft: Draft, row: Row) -> Check:
    check: Check = {}
    if row.get("ignore_tls"):
        check["verify"] = False
    if (redirects := row.get("maxredirects", 10)) is not None and redirects != 5:
        check["max_redirects"] = min(redirects, 20)
    if row.get("ip_family") in ("ipv4", "ipv6"):
        check["family"] = row["ip_family"]
    if row.get("proxy"):
        check["proxy"] = draft.url(f"{row['name']}-proxy", row["proxy"])
    if row.get("cache_bust"):
        draft.lose(row["name"], "no random parameter is added to the URL (cache bust)")
    return check


def _keyword(draft: Draft, row: Row) -> list[Check]:
    check = _http(draft, row)[0]
    key = "not_contains" if row.get("invert_keyword") else "contains"
    check.setdefault("expect", {})["body"] = {key: literal(row.get("keyword") or "")}
    return [check]


def _json_query(draft: Draft, row: Row) -> list[Check]:
    check = _http(draft, row)[0]
    path, wanted = row.get("json_path") or "$", row.get("expected_value")
    sign = row.get("json_path_operator") or "=="
    told = f"the query {path} {sign} {wanted} is not brought over: only the status is looked at"
    keys = {"==": "equals", ">": "above", "<": "below", "contains": "contains"}
    if not _PLAIN_PATH.fullmatch(path) or sign not in keys or wanted is None:
        draft.lose(row["name"], told)
        return [check]
    value: Any = wanted
    if sign != "contains":
        number = read_json(wanted, wanted)
        value = number if isinstance(number, bool | int | float) else literal(wanted)
        if sign == "==" and value is not wanted and not isinstance(value, str):
            draft.lose(row["name"], f"{path} must be the JSON value {wanted}; a text in quotes does not count as it")
    plain = path if path.startswith("$") else f"$.{path}"
    check.setdefault("expect", {})["body"] = {"json": {"path": plain, keys[sign]: value}}
    return [check]


def _port(draft: Draft, row: Row) -> list[Check]:
    security = row.get("smtp_security")
    if security and security not in ("none",):
        draft.lose(row["name"], f"only the connection is asked, not {security}")
    return [_tcp(row["hostname"], row["port"])]


def _tcp(host: str | None, port: Any) -> Check:
    shown = f"[{host}]" if host and ":" in host else host
    return {"kind": "tcp", "url": f"tcp://{shown}:{port}"}


def _smtp(draft: Draft, row: Row) -> list[Check]:
    draft.lose(row["name"], "the greeting of the mail server is asked for, not STARTTLS")
    scheme = "tls" if row.get("smtp_security") == "secure" else "tcp"
    check = _tcp(row["hostname"], row["port"])
    return [check | {"url": check["url"].replace("tcp", scheme, 1), "expect": {"answer": "220"}}]


def _dns(draft: Draft, row: Row) -> list[Check]:
    check: Check = {"kind": "dns", "name": row["hostname"], "type": row.get("dns_resolve_type") or "A"}
    servers = [one.strip() for one in (row.get("dns_resolve_server") or "").split(",") if one.strip()]
    if len(servers) > 1:
        draft.lose(row["name"], f"only the first of its DNS servers is asked ({servers[0]})")
    if servers:
        check["server"] = servers[0]
    if row.get("port") not in (None, 53):
        check["port"] = row["port"]
    return [check]


def _push(draft: Draft, row: Row) -> list[Check]:
    draft.lose(row["name"], "its job must call /push/<the same token> on this server from now on")
    grace = max(60.0, float(row.get("maxretries") or 0) * float(row.get("retry_interval") or row["interval"]))
    token = draft.secret(f"{row['name']}-token", row.get("push_token") or "")
    return [{"kind": "heartbeat", "token": token, "period": duration(row["interval"]), "grace": duration(grace)}]


def _database(kind: str, scheme: str) -> Translate:
    def translate_one(draft: Draft, row: Row) -> list[Check]:
        parts = urlsplit(row.get("database_connection_string") or "")
        user = parts.netloc.rpartition("@")[0].partition(":")[0]
        place = parts.netloc.rpartition("@")[2]
        old = "rediss" if parts.scheme == "rediss" else scheme
        query = "" if kind == "mysql" else parts.query
        check: Check = {"kind": kind}
        bare = urlunsplit((old, f"{user}@{place}" if user else place, parts.path, query, ""))
        check["url"] = draft.url(f"{row['name']}-url", bare)
        # Where MySQL's password is no part of the address it stands in the column of another type's.
        password = (
            unquote(parts.password) if parts.password else row.get("radius_password") if kind == "mysql" else None
        )
        if password:
            check["password"] = draft.secret(f"{row['name']}-password", password)
        asked = (row.get("database_query") or "SELECT 1").strip().rstrip("; ")
        if kind != "redis" and asked.upper() != "SELECT 1":
            draft.lose(row["name"], "its own query is not brought over: the check asks SELECT 1 and the statistics")
        if old == "rediss" and row.get("ignore_tls"):
            check["verify"] = False
        return [check]

    return translate_one


def _only_port(default: int) -> Translate:
    def translate_one(draft: Draft, row: Row) -> list[Check]:
        place = _place_of(row)
        if place is None:
            draft.lose(row["name"], f"there is no check for type {row['type']}, and it names no port", whole=True)
            return []
        draft.lose(row["name"], f"there is no check for type {row['type']} yet: only its port is asked")
        return [_tcp(place[0], place[1] or default)]

    return translate_one


def _place_of(row: Row) -> tuple[str, int | None] | None:
    if row.get("hostname"):
        return re.sub(r"^[a-z]+://", "", row["hostname"]), row.get("port")
    brokers = read_json(row.get("kafka_producer_brokers"), [])
    address = (
        row.get("database_connection_string") or row.get("grpc_url") or (brokers[0] if brokers else row.get("url"))
    )
    if not address:
        return None
    server = re.search(r"(?i)(?:server|data source)\s*=\s*(?:tcp:)?([^,;\s]+)(?:,\s*([0-9]+))?", address)
    if server:
        return server[1], int(server[2]) if server[2] else None
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        return (parts.hostname, parts.port) if parts.hostname else None
    except ValueError:
        return None


def _websocket(draft: Draft, row: Row) -> list[Check]:
    url = urlsplit(row.get("url") or "")
    draft.lose(row["name"], "there is no check for WebSockets yet: only the port is asked")
    port = url.port or (443 if url.scheme == "wss" else 80)
    check = _tcp(url.hostname, port)
    return [check | {"url": f"tls://{url.hostname}:{port}"} if url.scheme == "wss" else check]


def _rabbitmq(draft: Draft, row: Row) -> list[Check]:
    nodes = [str(node) for node in read_json(row.get("rabbitmq_nodes"), []) if node]
    if not nodes:
        draft.lose(row["name"], "it names no node to ask", whole=True)
    checks = []
    for number, node in enumerate(nodes, start=1):
        url = urljoin(node if node.endswith("/") else f"{node}/", "api/health/checks/alarms/")
        check: Check = {"kind": "http", "url": draft.url(f"{row['name']}-url-{number}", url)}
        if number > 1:
            check["name"] = f"node-{number}"
        if user := row.get("rabbitmq_username"):
            password = draft.secret(f"{row['name']}-password", row.get("rabbitmq_password") or "")
            check["auth"] = {"scheme": "basic", "username": literal(user), "password": password}
        checks.append(check)
    if len(checks) > 1:
        draft.lose(row["name"], "every node must answer; there one was enough")
    return checks


def _browser(draft: Draft, row: Row) -> list[Check]:
    draft.lose(row["name"], "the page is fetched without a browser: its scripts do not run")
    return _http(draft, row)


_TYPES: dict[str, Translate] = {
    "http": _http,
    "keyword": _keyword,
    "json-query": _json_query,
    "real-browser": _browser,
    "port": _port,
    "smtp": _smtp,
    "dns": _dns,
    "push": _push,
    "postgres": _database("postgresql", "postgresql"),
    "mysql": _database("mysql", "mysql"),
    "mariadb": _database("mysql", "mysql"),
    "redis": _database("redis", "redis"),
    "rabbitmq": _rabbitmq,
    "websocket-upgrade": _websocket,
    "mongodb": _only_port(27017),
    "sqlserver": _only_port(1433),
    "oracledb": _only_port(1521),
    "mqtt": _only_port(1883),
    "grpc-keyword": _only_port(443),
    "kafka-producer": _only_port(9092),
}
