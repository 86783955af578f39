"""A small real shop back end with switchable faults, to try Backwatch against."""
