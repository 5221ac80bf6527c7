"""edgeapp: counts what a camera sees on a small board, for years, without sending a picture."""

__version__ = "0.1.0"
RELEASE_YEAR = 2026  # a device whose clock stands before it has not been told the time
