"""A device's week in fast motion: `plan.py` says what happens to it, `life.py` does that to a real daemon, and
`accounts.py` holds what arrived against what should have.
"""
