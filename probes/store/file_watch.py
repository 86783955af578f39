"""Is the embedded store's file still the one we opened? Deleted or replaced under us, it must not go on unnoticed."""

from probes.store.database import Store, database_file
from probes.store.embedded import file_identity


class FileWatch:
    """Looks at the name; connections look for themselves each time they are used (`probes.store.embedded`)."""

    def __init__(self, store: Store) -> None:
        self._file = database_file(store)
        self._known = file_identity(self._file)

    def look(self) -> str:
        """What has happened since the last look, for people; empty when nothing has. A server is not watched."""
        if self._file is None:
            return ""
        found = file_identity(self._file)
        if found == self._known:
            return ""
        self._known = found
        # Whoever connects first makes a new file of a deleted one, so the two cannot be told apart for sure.
        return f"the store's file {self._file} was deleted or replaced while we work"
