"""What does a condition of Gatus expect? `[STATUS] == 200`, `[BODY].user.name == john`, `[RESPONSE_TIME] < 300` …"""

import json
import re
from typing import Any

from probes.duration import parse_duration

_CONDITION = re.compile(r"\s*(.+?)\s+(==|!=|<=|>=|<|>)\s+(.*?)\s*")
_JSON = re.compile(r"\[BODY\]((?:\.[A-Za-z_][A-Za-z0-9_-]*|\[[0-9]+\])+)")
_HAS = re.compile(r"has\(\[BODY\]((?:\.[A-Za-z_][A-Za-z0-9_-]*|\[[0-9]+\])+)\)")
_ANY = re.compile(r"any\((.*)\)")
_PATTERN = re.compile(r"pat\((.*)\)", re.DOTALL)
_NO_MEANING = "there is no expectation that means it"


class Conditions:
    """The conditions of one endpoint, as `expect` of a check of this kind."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.expect: dict[str, Any] = {}

    def read(self, condition: str) -> str:
        """Take a condition in; why it cannot be, or nothing."""
        found = _CONDITION.fullmatch(condition)
        if found is None:
            return _NO_MEANING
        left, sign, right = found.groups()
        if (left, sign, right) in {("[CONNECTED]", "==", "true"), ("[DNS_RCODE]", "==", "NOERROR")}:
            return ""  # without it there is no good answer anyway
        if left == "[RESPONSE_TIME]":
            return self._latency(sign, right)
        if left == "[CERTIFICATE_EXPIRATION]" and self._kind in ("http", "tls"):
            return self._certificate(sign, right)
        if self._kind == "http":
            return self._status(sign, right) if left == "[STATUS]" else self._body(left, sign, right)
        return self._records(sign, right) if (self._kind, left) == ("dns", "[BODY]") else _NO_MEANING

    def _latency(self, sign: str, right: str) -> str:
        if sign not in ("<", "<=") or not right.isdigit():
            return _NO_MEANING
        self.expect["latency"] = {"down": f"{right}ms"}
        return ""

    def _certificate(self, sign: str, right: str) -> str:
        try:
            days = parse_duration(right) / 86400
        except ValueError:
            return _NO_MEANING
        if sign not in (">", ">="):
            return _NO_MEANING
        self.expect["certificate_days_left"] = {"down": round(days, 3)}
        return ""

    def _status(self, sign: str, right: str) -> str:
        several = _ANY.fullmatch(right)
        codes = [one.strip() for one in several[1].split(",")] if several else [right]
        if sign == "==" and all(re.fullmatch(r"[1-5][0-9]{2}", code) for code in codes):
            self.expect["status"] = codes
            return ""
        if not right.isdigit() or sign not in ("<", "<="):
            return _NO_MEANING
        last = int(right) - (sign == "<")
        if last % 100 != 99 or not 199 < last < 600:
            return _NO_MEANING
        self.expect["status"] = [f"{hundred}xx" for hundred in range(2, last // 100 + 1)]
        return ""

    def _records(self, sign: str, right: str) -> str:
        several = _ANY.fullmatch(right)
        if sign == "==" and not several and not _PATTERN.fullmatch(right):
            self.expect["answers"] = [right]
            return ""
        return "any answer will do" if _PATTERN.fullmatch(right) else _NO_MEANING

    def _body(self, left: str, sign: str, right: str) -> str:
        pattern = _PATTERN.fullmatch(right)
        body: dict[str, Any] = self.expect.setdefault("body", {})
        why = _NO_MEANING
        if left == "[BODY]" and pattern:
            why = _glob(body, sign, pattern[1])
        elif left == "[BODY]" and sign == "==" and not _ANY.fullmatch(right) and "regex" not in body:
            body["regex"], why = f"^{_escape(right)}$", ""
        elif has := _HAS.fullmatch(left):
            why = _add(body, {"path": f"${has[1]}", "exists": (right == "true") is (sign == "==")})
        elif (path := _JSON.fullmatch(left)) and not pattern and not _ANY.fullmatch(right):
            why = _add_value(body, f"${path[1]}", sign, right)
        if not body:
            del self.expect["body"]
        return why


def _glob(body: dict[str, Any], sign: str, glob: str) -> str:
    """`pat(*text*)`."""
    inner = glob.strip("*")
    is_plain = not set(inner) & set("*?[")
    key = {"==": "contains", "!=": "not_contains"}.get(sign)
    if key and is_plain and glob.startswith("*") and glob.endswith("*") and key not in body:
        body[key] = inner
        return ""
    if sign != "==" or "regex" in body:
        return _NO_MEANING
    body["regex"] = "(?s)^" + ".*".join(_escape(part).replace(r"\?", ".") for part in glob.split("*")) + "$"
    return ""


def _add_value(body: dict[str, Any], path: str, sign: str, right: str) -> str:
    value = _value(right)
    key = {"==": "equals", ">": "above", "<": "below"}.get(sign)
    if key is None or (key != "equals" and (isinstance(value, bool) or not isinstance(value, int | float))):
        return _NO_MEANING
    return _add(body, {"path": path, key: value})


def _add(body: dict[str, Any], expect: dict[str, Any]) -> str:
    body.setdefault("json", []).append(expect)
    return ""


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def _escape(text: str) -> str:
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)
