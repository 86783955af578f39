"""What numbers a text in Prometheus' exposition format holds, and which of them a selector means."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

_LINE = re.compile(r'([a-zA-Z_:][\w:.]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?[ \t]+(\S+)')
_LABEL = re.compile(r'\s*([a-zA-Z_][\w.]*)\s*(!?=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:.]*)\s*(?:\{(.*)\})?", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Sample:
    """One number with its name and labels."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Selector:
    """`name{label="value", other!="value"}`: the samples of a name whose labels fit; other labels are free."""

    name: str
    wanted: tuple[tuple[str, str, str], ...] = ()

    def fits(self, sample: Sample) -> bool:
        """Whether a sample is meant."""
        return sample.name == self.name and all(
            (sample.labels.get(label, "") == value) is (operator == "=") for label, operator, value in self.wanted
        )


@lru_cache(maxsize=4096)
def read_selector(text: str) -> Selector:
    """Raises ValueError for what is no selector."""
    found = _SELECTOR.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'{text!r} is no selector: write name or name{{label="value"}}')
    return Selector(found[1], tuple(_labels(found[2] or "", strict=True)))


def read_samples(text: str, names: Iterable[str] = ("",)) -> Iterator[Sample]:
    """The samples of a text whose name begins like one of these; lines that are none (damage) are passed over."""
    begins = tuple(names)
    for line in text.splitlines():
        if not line.startswith(begins) or line.startswith("#"):  # before the costly part: a page may have 50,000 lines
            continue
        found = _LINE.match(line)
        if found is None:
            continue
        try:
            value = float(found[3])
        except ValueError:
            continue
        labels = {label: value_ for label, _, value_ in _labels(found[2], strict=False)} if found[2] else {}
        yield Sample(found[1], labels, value)


def _labels(text: str, strict: bool) -> Iterator[tuple[str, str, str]]:
    position = 0
    text = text.strip()
    while position < len(text):
        found = _LABEL.match(text, position)
        if found is None:
            if strict:
                raise ValueError(f'{text[position:]!r} is no label: write label="value"')
            return
        yield found[1], found[2], _ESCAPE.sub(lambda m: "\n" if m[1] == "n" else m[1], found[3])
        position = found.end()
