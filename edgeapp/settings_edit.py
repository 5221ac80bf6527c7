"""Changes single settings in the text of a configuration, and nothing else of it: comments stay; pure.

Owns how a setting is written in YAML and where in the text it goes. Leaves to the caller to read the result and to
compare (`check`): YAML can be written in more ways than are known here, and what was not understood must not be kept.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

import yaml

from edgeapp.config import Config
from edgeapp.errors import ConfigError
from edgeapp.yaml_text import after_colon, after_line, comment_lines, end_of, find, is_text

_INDENT = 2
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")


def edited(text: str, settings: Mapping[str, str]) -> str:
    """`text` with each setting, a dotted key such as mqtt.tls.enabled, in place of what stood there.

    An empty value is null where the key may have it, and an empty list for a list; other lists are given with commas.

    Raises:
        ConfigError: a key that does not exist or cannot be set in one line, or text that is written in a way that only
            a person can change.
    """
    for key, value in settings.items():
        written = _written(_type_of(key), value, key)
        try:
            text = _replaced(text if text.endswith("\n") else text + "\n", key.split("."), written)
        except (yaml.YAMLError, ValueError, AttributeError, TypeError) as error:
            raise ConfigError(f"{key}: written in a way that only a person can change") from error
    return text


def check(before: Config | None, after: Config, settings: Mapping[str, str]) -> None:
    """Whether the text that was edited says what was asked for, and of all else what it said before.

    Raises:
        ConfigError: it does not; the text must not be kept.
    """
    for key, value in settings.items():
        wanted = yaml.safe_load(_written(_type_of(key), value, key))
        found = _value(after, key)
        found = list(found) if isinstance(found, tuple) else found
        if found != wanted:
            raise ConfigError(f"{key}: expected to become {value!r}, found {found!r}: change it by hand")
    if before is not None:
        for key in sorted(set(_keys(Config)) - set(settings)):
            if _value(before, key) != _value(after, key):
                raise ConfigError(f"{key}: expected to stay as it is, found it changed: change the file by hand")


def _keys(section: Any, prefix: str = "") -> list[str]:
    """The dotted keys of all single settings."""
    found = []
    for name, hint in typing.get_type_hints(section).items():
        if dataclasses.is_dataclass(hint):
            found += _keys(hint, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def _value(config: Config, key: str) -> Any:
    found: Any = config
    for name in key.split("."):
        found = getattr(found, name)
    return found


def _type_of(key: str) -> Any:
    section: Any = Config
    for name in key.split("."):
        hints = typing.get_type_hints(section) if dataclasses.is_dataclass(section) else {}
        if name not in hints:
            raise ConfigError(f"{key}: expected the key of a setting, such as mqtt.host")
        section = hints[name]
    return section


def _written(hint: Any, value: str, key: str) -> str:
    """A value as YAML writes it in one line, by the type of its key."""
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if not value and type(None) in choices:
        return "null"
    if typing.get_origin(hint) is tuple and (not value or typing.get_args(hint)[0] is str):
        return f"[{', '.join(_quoted(item.strip()) for item in value.split(',') if item)}]"
    if str in choices or typing.get_origin(hint) is Literal:
        return _quoted(value)
    if {bool, int, float} & set(choices):
        return value
    raise ConfigError(f"{key}: cannot be set in one line; change it in the file")


def _quoted(value: str) -> str:
    """In quotes where YAML could take the bare word for something else: null, on, 12, a # b."""
    return value if is_text(value) and _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _replaced(text: str, path: list[str], written: str) -> str:
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    parent, missing = root, list(path)
    while missing:
        name, value = find(parent, missing[0])
        if name is None:
            return _inserted(text, root, parent, missing, written)
        missing.pop(0)
        if not missing:
            return _exchanged(text, name, value, written)
        parent = value
    raise ValueError("an empty key")


def _exchanged(text: str, name: Any, value: Any, written: str) -> str:
    start, end = value.start_mark.index, end_of(value)
    if "\n" not in text[name.end_mark.index : start]:
        kept = text[end : after_line(text, end)]
        comments = comment_lines(text[start:end])
        return text[:start] + written + kept + comments + text[after_line(text, end) :]
    colon = after_colon(text, name)  # a list with dashes on the lines below
    return f"{text[:colon]} {written}\n{comment_lines(text[colon:end])}{text[after_line(text, end) :]}"


def _inserted(text: str, root: Any, parent: Any, names: list[str], written: str) -> str:
    """The text with a key that was not there, as the last one of its section."""
    if parent.flow_style:
        raise ValueError("a section in braces")
    column = parent.start_mark.column
    lines = [f"{' ' * (column + depth * _INDENT)}{name}:" for depth, name in enumerate(names)]
    at = len(text) if parent is root else after_line(text, end_of(parent))
    return text[:at] + "\n".join(lines) + f" {written}\n" + text[at:]
