"""Since when is a check known? So that a worker's restart gives a job that was never heard of no new time."""

from collections.abc import Sequence
from hashlib import blake2b

from probes.store.database import Store, writing
from probes.store.meta import find, forget
from probes.store.statement import change, inserting

_PREFIX = "first_seen/"
_ADD = inserting("meta", ("key", "value"))


def remember_first_seen(store: Store, check_ids: Sequence[str], now_ms: int) -> dict[str, int]:
    """Since when each of these checks is known, epoch milliseconds; new ones since now. Others are forgotten.

    Raises StoreError.
    """
    keys = {_key(check_id): check_id for check_id in check_ids}
    with writing(store) as link:
        found = {key: int(value) for key, value in find(link, _PREFIX).items()}
        for key in found.keys() - keys.keys():
            forget(link, key)
        new = [{"key": key, "value": str(now_ms)} for key in keys if key not in found]
        if new:
            change(link, _ADD, *new)
    return {check_id: found.get(key, now_ms) for key, check_id in keys.items()}


def _key(check_id: str) -> str:
    # An id may be longer than a key, so its hash stands for it.
    return _PREFIX + blake2b(check_id.encode(), digest_size=16).hexdigest()
