"""Signed model updates: what this device runs, what it tries, and how it comes back from either."""
