"""The chip's heat: reading it, and keeping the frame rate within what it allows."""
