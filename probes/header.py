"""The header fields of an answer: kept as they came, read when somebody asks for them."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import overload

Field = tuple[str, str]


class HeaderLines(Sequence[Field]):
    """Name and value of each field. Those of interim answers and of digest's first round do not count.

    Most checks never look at a header, and taking them apart costs as much as parsing them did.
    """

    __slots__ = ("_fields", "_lines")

    def __init__(self, lines: Sequence[bytes]) -> None:
        """Of the lines with their ends, in as many pieces as they came."""
        self._lines = tuple(lines)
        self._fields: tuple[Field, ...] | None = None

    def last(self, name: str) -> str | None:
        """The last value of a field, its name in any case; None where it is absent. Takes apart that one alone."""
        if self._fields is not None:
            return _last_of(self._fields, name)
        lines = b"".join(self._lines)
        lower = lines.lower()
        begin = lower.rfind(_wanted(name), max(0, lower.rfind(b"\nhttp/")))
        if begin >= 0:
            return lines[begin : lines.find(b"\n", begin + 1)].partition(b":")[2].decode("latin-1").strip()
        return _last_of(self._read(), name)

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, index: int) -> Field: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Field, ...]: ...

    def __getitem__(self, index: int | slice) -> Field | tuple[Field, ...]:
        return self._read()[index]

    def __iter__(self) -> Iterator[Field]:
        return iter(self._read())

    def __eq__(self, other: object) -> bool:
        return self._read() == tuple(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._read())

    def __repr__(self) -> str:
        return repr(self._read())

    def _read(self) -> tuple[Field, ...]:
        if self._fields is None:
            found: list[Field] = []
            for line in b"".join(self._lines).split(b"\n"):
                if line.startswith(b"HTTP/"):
                    found.clear()
                    continue
                name, colon, value = line.partition(b":")
                if colon:
                    found.append((name.decode("latin-1").strip(), value.decode("latin-1").strip()))
            self._fields, self._lines = tuple(found), ()
        return self._fields


@lru_cache(maxsize=256)
def _wanted(name: str) -> bytes:
    return b"\n%s:" % name.lower().encode("latin-1", "replace")


def _last_of(fields: Sequence[Field], name: str) -> str | None:
    lower = name.lower()
    return next((value for key, value in reversed(fields) if key.lower() == lower), None)


NO_HEADERS = HeaderLines(())
