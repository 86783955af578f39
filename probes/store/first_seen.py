"""Since when is a check known? So that a worker's restart gives a job that was never heard of no new time."""

from collections.abc import Sequence
from hashlib import blake2b

from sqlalchemy import Engine, delete, select

from probes.store.database import upsert, writing
from probes.store.tables import meta

_PREFIX = "first_seen/"


def remember_first_seen(engine: Engine, check_ids: Sequence[str], now_ms: int) -> dict[str, int]:
    """Since when each of these checks is known, epoch milliseconds; new ones since now. Others are forgotten.

    Raises StoreError.
    """
    keys = {_key(check_id): check_id for check_id in check_ids}
    with writing(engine) as connection:
        known = connection.execute(select(meta.c.key, meta.c.value).where(meta.c.key.startswith(_PREFIX)))
        found = {row.key: int(row.value) for row in known}
        for key in found.keys() - keys.keys():
            connection.execute(delete(meta).where(meta.c.key == key))
        new = [{"key": key, "value": str(now_ms)} for key in keys if key not in found]
        if new:
            connection.execute(upsert(connection)(meta).on_conflict_do_nothing(), new)
    return {check_id: found.get(key, now_ms) for key, check_id in keys.items()}


def _key(check_id: str) -> str:
    # An id may be longer than a key, so its hash stands for it.
    return _PREFIX + blake2b(check_id.encode(), digest_size=16).hexdigest()
