"""How do people read evidence? As plain text: what was asked behind `>`, what was answered behind `<`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def as_text(content: Mapping[str, Any]) -> str:
    """The whole of it. Of any content, also that of another version: what is not known is shown by its name."""
    rest = dict(content)
    lines = [*_verdict(rest), *_exchange(rest)]
    for number, entry in enumerate(_list(rest.pop("exchanges", None)), 1):
        lines += ["", f"{number}. step {entry.pop('step', '?')}", *_exchange(entry)]
    nodes = rest.pop("nodes", None)
    for address, entry in nodes.items() if isinstance(nodes, Mapping) else ():
        lines += ["", f"node {address}", *_exchange(dict(entry))]
    lines += _others(rest)
    return "\n".join(lines)


def _verdict(content: dict[str, Any]) -> Iterator[str]:
    said = [content.pop(name, None) for name in ("status", "reason", "message")]
    yield ": ".join(str(part) for part in said if part)
    content.pop("code", None)
    metrics = content.pop("metrics", None)
    if isinstance(metrics, Mapping) and metrics:
        yield "measured: " + ", ".join(f"{name} {_number(value)}" for name, value in metrics.items())
    failed, steps = content.pop("failed_step", None), content.pop("steps", None)
    if failed:
        yield f"failed at step {failed}"
    if isinstance(steps, Mapping) and steps:
        yield "steps: " + ", ".join(f"{name} {_number(value)}" for name, value in steps.items())


def _exchange(entry: dict[str, Any]) -> Iterator[str]:
    request, response = entry.pop("request", None), entry.pop("response", None)
    if isinstance(request, Mapping):
        yield f"> {request.get('method', '')} {request.get('url', '')}"
        yield from _message(request, ">")
        if request.get("connect_to"):
            yield f"connected to {request['connect_to']} instead of the URL's own address"
    if address := entry.pop("address", None):
        yield f"answered from {address}"
    for location in _list(entry.pop("redirects", None)):  # as it was kept before hops were timed
        yield f"redirected to {location}"
    yield from hop_lines(_list(entry.pop("hops", None)))
    if isinstance(response, Mapping):
        yield f"< {response.get('code', '')} HTTP/{response.get('http_version') or '?'} {response.get('url', '')}"
        yield from _message(response, "<")
    failure = entry.pop("failure", None)
    if isinstance(failure, Mapping):
        yield f"failed: {failure.get('reason')}: {failure.get('message')}"
    if took := _took(entry.pop("duration_s", None), entry.pop("phases", None)):
        yield f"took {took}"
    certificate = entry.pop("certificate", None)
    if isinstance(certificate, Mapping):
        yield "certificate: " + ", ".join(f"{name} {value}" for name, value in certificate.items())


def hop_lines(hops: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each request that redirects led to, a line: `hop 1: 301 http://shop.example/ from 10.0.0.7, 12.3 ms (…)`."""
    for number, hop in enumerate(hops, 1):
        source = f" from {hop['address']}" if hop.get("address") else ""
        took = _took(hop.get("duration_s"), hop.get("phases"))
        yield f"hop {number}: {hop.get('code') or 'no answer'} {hop.get('url')}{source}" + (f", {took}" if took else "")


def _took(duration_s: Any, phases: Any) -> str:
    """`12.3 ms (connect 1.0, ttfb 10.0)`; nothing where nothing was measured."""
    if not isinstance(duration_s, int | float):
        return ""
    parts = phases if isinstance(phases, Mapping) else {}
    steps = ", ".join(f"{name.removesuffix('_s')} {value * 1000:.1f}" for name, value in parts.items())
    return f"{duration_s * 1000:.1f} ms" + (f" ({steps})" if steps else "")


def _message(message: Mapping[str, Any], mark: str) -> Iterator[str]:
    for header in _list(message.get("headers")):
        yield f"{mark} {': '.join(map(str, header))}"
    body = message.get("body")
    if body:
        yield mark
        yield from (f"{mark} {line}" for line in str(body).splitlines())


def _others(rest: Mapping[str, Any]) -> Iterator[str]:
    for name, value in rest.items():
        if isinstance(value, list) and value:
            yield f"{name.replace('_', ' ')}:"
            yield from (f"  {_entry(entry)}" for entry in value)
        elif value:
            yield f"{name.replace('_', ' ')}: {_entry(value)}"


def _entry(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {entry}" for name, entry in value.items())
    return str(value)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
