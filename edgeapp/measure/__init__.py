"""Measuring this device: when a figure may be believed, and what it is."""
