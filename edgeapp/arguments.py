"""A parser of arguments whose every command says in its own `--help` what it does. Loads nothing."""

from __future__ import annotations

import argparse
from typing import Any


class Parser(argparse.ArgumentParser):
    """As argparse's; what a list of commands says of one, the command's own help says too."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register("action", "parsers", _Commands)


class _Commands(argparse._SubParsersAction):  # type: ignore[type-arg]
    def add_parser(self, name: str, **options: Any) -> Any:
        text = options.get("help")
        if text:
            options.setdefault("description", text[:1].upper() + text[1:] + ".")
        return super().add_parser(name, **options)
