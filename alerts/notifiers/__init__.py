"""One file per notifier kind, found by folder scan."""
