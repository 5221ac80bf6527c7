"""Signed model updates: command → verified → downloaded → self-tested → trial → committed or rolled back."""
