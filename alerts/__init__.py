"""What stored results mean, and who is told."""
