"""edgeapp: counts what a camera sees on a small board, for years, without sending a picture."""

__version__ = "0.1.0"
