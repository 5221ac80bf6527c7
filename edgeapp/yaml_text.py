"""Where things stand in the text of a YAML document, for those who change a part of it and keep the rest; pure.

Nodes are those of `yaml.compose`. Leaves to the callers what to change, and to read the result.
"""

from __future__ import annotations

from typing import Any

import yaml

_RESOLVER: Any = yaml.resolver.Resolver()


def is_text(written: str) -> bool:
    """Whether YAML takes a bare word for a text, and not for a number, a date, null or a truth value."""
    return bool(_RESOLVER.resolve(yaml.ScalarNode, written, (True, False)) == "tag:yaml.org,2002:str")


def find(section: Any, key: str) -> tuple[Any, Any]:
    """The nodes of a key and of its value; None where the section does not have it."""
    return next(((name, value) for name, value in section.value if name.value == key), (None, None))


def end_of(node: Any) -> int:
    """Where a node's text ends. PyYAML lets a block end only where the next thing begins, beyond the comments."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return end_of(last[1] if isinstance(node, yaml.MappingNode) else last)


def comment_lines(text: str) -> str:
    """Of a text that is cut out, the lines that are nothing but a comment."""
    return "".join(line for line in text.splitlines(keepends=True) if line.lstrip().startswith("#"))


def after_line(text: str, at: int) -> int:
    """Where the next line begins."""
    return text.index("\n", at) + 1


def after_colon(text: str, name: Any) -> int:
    """Where the text goes on behind the colon of a key."""
    return text.index(":", name.end_mark.index) + 1
