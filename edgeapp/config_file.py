"""Reads the configuration file from disk.

Owns the file: found, readable, of sane size. Its meaning is `reader.py`'s, the rules between its keys are
`config_check.py`'s. Guarantees: a Config that is returned passed every check; otherwise one error lists all mistakes.
"""

from __future__ import annotations

import stat
from pathlib import Path

from edgeapp.config import Config
from edgeapp.config_check import check, check_parts
from edgeapp.mistakes import ConfigMistakesError, Mistake
from edgeapp.reader import examine_yaml
from edgeapp.yaml_document import YAML_MAX_BYTES

__all__ = ["check", "load", "read"]


def load(path: Path) -> Config:
    """The configuration in the file `path`.

    Raises:
        ConfigMistakesError: a ConfigError whose `mistakes` lists all that is wrong: with the file, or in it.
    """
    return read(_contents(path), str(path))


def read(text: bytes, origin: str) -> Config:
    """The configuration in `text`, called `origin` in messages. Raises as `load` does."""
    reading = examine_yaml(Config, text, origin)

    def tell(key: str, expected: str, found: str, suggestion: str = "") -> None:
        reading.findings.add(reading.line_of(key), key, expected, found, suggestion)

    check_parts(reading.parts, tell)
    mistakes = reading.findings.mistakes
    if reading.value is None or mistakes:
        raise ConfigMistakesError(mistakes)
    return reading.value


def _contents(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            # A pipe would block the start for ever, a device has no end.
            raise _unreadable(path, "a directory" if stat.S_ISDIR(mode) else "something that is no regular file")
        with path.open("rb") as file:
            return file.read(YAML_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise _unreadable(path, "no such file") from error
    except OSError as error:
        raise _unreadable(path, f"{error.strerror or error}") from error
    except ValueError as error:  # a NUL in the path
        raise _unreadable(path, str(error)) from error


def _unreadable(path: Path, found: str) -> ConfigMistakesError:
    return ConfigMistakesError((Mistake(str(path), "", "a readable file", found),))
