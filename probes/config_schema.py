"""What may stand in a configuration, as a JSON Schema: made from the classes that validate it."""

from typing import Any

from pydantic import BaseModel, TypeAdapter

from probes.expectation import ALIASES, CLOCKS
from probes.probe import Probe, kinds
from probes.sections import CheckKeys, Defaults, RetentionKeys, SiteKeys, TargetKeys, TopKeys, WorkerKeys

_NUMBER = {"anyOf": [{"type": "number"}, {"type": "string"}]}
_BOUND = {
    "anyOf": [
        *_NUMBER["anyOf"],
        {
            "type": "object",
            "properties": {"above": _NUMBER, "below": _NUMBER, "for": {"type": "string", "pattern": r"^\d+ +of +\d+$"}},
            "additionalProperties": False,
        },
    ]
}
_LIMIT = {
    "type": "object",
    "properties": {"degraded": _BOUND, "down": _BOUND},
    "additionalProperties": False,
    "minProperties": 1,
}
# `certificate: {days_left: {…}}` is another way to write the metric `certificate_days_left`.
_NESTED_LIMIT = {"anyOf": [_LIMIT, {"type": "object", "additionalProperties": _LIMIT}]}


def json_schema() -> dict[str, Any]:
    """The schema of the whole file (draft 2020-12); one definition a kind, chosen by `kind:`."""
    definitions: dict[str, Any] = {"limit": _NESTED_LIMIT}
    for word, kind in kinds().items():
        definitions[f"check_{word}"] = _lift(_check(word, kind), definitions)
    definitions["check"] = {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": list(kinds())}},
        "oneOf": [{"$ref": f"#/$defs/check_{word}"} for word in kinds()],
    }
    definitions["target"] = _with(_of(TargetKeys, definitions), checks={"type": "array", "items": _ref("check")})
    definitions["site"] = _with(_of(SiteKeys, definitions), targets=_by_name("target"))
    top = _with(
        _of(TopKeys, definitions),
        sites=_by_name("site"),
        defaults=_of(Defaults, definitions),
        retention=_of(RetentionKeys, definitions),
        worker=_of(WorkerKeys, definitions),
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Backwatch configuration",
        **top,
        "$defs": definitions,
    }


def _check(word: str, kind: type[Probe]) -> dict[str, Any]:
    common, own = _schema(CheckKeys), _schema(kind.Options)
    properties = {**common["properties"], **own.get("properties", {})}
    properties["kind"] = {"const": word, "description": (kind.__doc__ or word).strip().splitlines()[0]}
    properties["expect"] = _expect(kind)
    return {
        "type": "object",
        "properties": properties,
        "required": ["kind", *own.get("required", [])],
        "additionalProperties": False,
        "$defs": {**common.get("$defs", {}), **own.get("$defs", {}), **_schema(kind.Expect).get("$defs", {})},
    }


def _expect(kind: type[Probe]) -> dict[str, Any]:
    own = _schema(kind.Expect).get("properties", {})
    named = {**CLOCKS, **{alias: CLOCKS[name] for alias, name in ALIASES.items()}, **kind.metrics}
    limits = {name: {**_ref("limit"), "description": metric.help} for name, metric in named.items() if "*" not in name}
    # A metric may be written in parts and a name may stand for a family, so other keys are limits as well.
    return {"type": "object", "properties": {**limits, **own}, "additionalProperties": _ref("limit")}


def _of(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    return _lift(_schema(model), definitions)


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    found = TypeAdapter(model).json_schema(mode="validation", ref_template="#/$defs/{model}")
    widened: dict[str, Any] = _widen(found)
    return widened


def _lift(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema without definitions of its own; they go to the common ones."""
    definitions.update(schema.pop("$defs", {}))
    return schema


def _widen(schema: Any) -> Any:
    """Numbers may be written as text (`30s`, `80%`, `"${env:PORT}"`), and one of a list without the list."""
    if isinstance(schema, list):
        return [_widen(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _widen(value) for key, value in schema.items()}
    if inner.get("type") in ("number", "integer"):
        kept = {key: inner.pop(key) for key in list(inner) if key not in ("title", "description", "default")}
        inner["anyOf"] = [kept, {"type": "string"}]
    elif inner.get("type") == "array" and isinstance(inner.get("items"), dict):
        kept = {key: inner.pop(key) for key in list(inner) if key not in ("title", "description", "default")}
        if kept["items"] == {"type": "string"}:
            kept["items"] = {"type": ["string", "number"]}  # status: [200, 3xx]
        inner["anyOf"] = [kept, kept["items"]]
    return inner


def _with(schema: dict[str, Any], **properties: Any) -> dict[str, Any]:
    described = {
        name: {
            **{key: schema["properties"][name][key] for key in ("description",) if key in schema["properties"][name]}
        }
        for name in properties
    }
    added = {name: {**described[name], **value} for name, value in properties.items()}
    return {**schema, "properties": {**schema["properties"], **added}}


def _by_name(definition: str) -> dict[str, Any]:
    return {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"},
        "additionalProperties": _ref(definition),
    }


def _ref(definition: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{definition}"}
