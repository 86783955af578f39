"""How the values of the hot path are declared: frozen to the type checker, plain slots at run time.

A frozen dataclass sets each field through `object.__setattr__`, 0.2 µs a field; a check makes some forty of them. The
type checker refuses the same assignments, everywhere and earlier.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen: bool, slots: bool) -> Any:
        """`dataclass(frozen=…, slots=…)`, equal and hashed by its fields as a frozen one is."""
        return dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["value"]
