"""One file per probe kind, found by folder scan."""
