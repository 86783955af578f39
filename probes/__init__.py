"""What is asked of a back end, when, and what was answered."""
