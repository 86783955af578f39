"""Bringing over from other monitoring programs: their checks as configuration, their history into the store."""
