"""How numbers and times read on a page: `22 min`, `143 ms`, `99.95 %`, `12 MB`."""

from datetime import UTC, datetime

_SPANS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))


def span(seconds: float) -> str:
    """A length of time in its two largest units: `45 s`, `22 min`, `3 h 12 min`, `2 d 4 h`."""
    left = max(0.0, seconds)
    if left < 60:
        return f"{left:.0f} s"
    for index, (size, unit) in enumerate(_SPANS):
        if left >= size:
            whole = int(left // size)
            if index + 1 == len(_SPANS) or whole >= 10:
                return f"{whole} {unit}"
            smaller, smaller_unit = _SPANS[index + 1]
            rest = int(left % size // smaller)
            return f"{whole} {unit} {rest} {smaller_unit}" if rest else f"{whole} {unit}"
    return "0 s"


def latency(seconds: float | None) -> str:
    """A duration as people read latencies: `0.4 ms`, `143 ms`, `2.1 s`; a dash where there is none."""
    if seconds is None:
        return "—"
    if seconds < 0.001:
        return f"{seconds * 1000:.2f} ms"
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else span(seconds)


def uptime(ratio: float | None) -> str:
    """A share of time in percent, never rounded up to 100."""
    if ratio is None:
        return "—"
    if ratio >= 1:
        return "100 %"
    return f"{min(ratio * 100, 99.999):.3f} %" if ratio > 0.9 else f"{ratio * 100:.1f} %"


def size(n_bytes: float) -> str:
    """A number of bytes: `512 B`, `3.4 MB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def number(value: float) -> str:
    """A metric's value with three figures and thousands apart."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def metric(name: str, value: float) -> str:
    """A metric by the unit in its name: ratios in percent, seconds as latency, bytes as size."""
    if name.endswith("_ratio"):
        return f"{value * 100:.1f} %"
    if name.endswith("_s") and not name.endswith("_per_s"):
        return latency(value)
    if name.endswith("_bytes"):
        return size(value)
    return number(value)


def label(name: str) -> str:
    """A metric's name for a heading: `hit_ratio` → `Hit ratio`."""
    base = name.removesuffix("_bytes").removesuffix("_s") if not name.endswith("_per_s") else name
    return base.replace("_per_s", " per second").replace("_", " ").capitalize()


def utc(ms: int) -> str:
    """ISO 8601 in UTC with milliseconds, as the API says times."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_or_none(ms: int | None) -> str | None:
    """Like `utc`; None stays None."""
    return None if ms is None else utc(ms)
