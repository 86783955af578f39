"""A way to tell: the base class of every notifier kind, and the registry of kinds."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from alerts.message import Message


class DeliveryError(Exception):
    """A message that was not delivered. `permanent`: the receiver will never take it; `gone`: nor any other.

    `retry_after_s` is how long the receiver asks to be left alone, `code` its HTTP or SMTP code.
    """

    def __init__(
        self,
        text: str,
        *,
        permanent: bool = False,
        gone: bool = False,
        code: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.permanent = permanent
        self.gone = gone
        self.code = code
        self.retry_after_s = retry_after_s


class NotifierOptions(BaseModel):
    """Base of a kind's options: its fields are the keys users write."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    fallback: str | None = Field(default=None, description="notifier that takes over pages while this one fails")


class Notifier:
    """A configured way to tell; one subclass a kind. Called from several threads at once."""

    kind: ClassVar[str]
    Options: ClassVar[type[NotifierOptions]] = NotifierOptions

    def __init__(self, name: str, options: Any) -> None:
        self.name = name
        self.options = options

    @property
    def fallback(self) -> str | None:
        """The notifier that takes over pages while this one fails."""
        fallback: str | None = self.options.fallback
        return fallback

    def describe(self) -> str:
        """One line that says who is told, without secrets."""
        return self.kind

    def send(self, message: Message) -> int | None:
        """Deliver once, within a total deadline; returns the receiver's code. Raises DeliveryError.

        It never retries, sleeps, filters or reads the store: that is the outbox' work.
        """
        raise NotImplementedError


_KINDS: dict[str, type[Notifier]] = {}
NotifierT = TypeVar("NotifierT", bound=type[Notifier])


def notifier(kind: str) -> Callable[[NotifierT], NotifierT]:
    """Class decorator that registers a kind under the word users write as `kind:`."""

    def register(cls: NotifierT) -> NotifierT:
        cls.kind = kind
        _KINDS[kind] = cls
        return cls

    return register


@cache
def notifier_kinds() -> Mapping[str, type[Notifier]]:
    """Every kind by name; modules of `alerts.notifiers` are imported on first call."""
    import alerts.notifiers

    for module in pkgutil.iter_modules(alerts.notifiers.__path__):
        importlib.import_module(f"alerts.notifiers.{module.name}")
    return dict(sorted(_KINDS.items()))
