"""The commands of the operator and the model engineer. Each loads only what it needs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from edgeapp import __version__
from edgeapp.arguments import Parser
from edgeapp.workshop import (
    compare_command,
    convert_command,
    describe_command,
    devices_command,
    keys_command,
    oracle_command,
    profile_command,
    quantize_command,
    release_command,
    rollout_command,
    site_command,
    size_command,
    tuf_client,
    update_command,
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    parser: ArgumentParser = Parser(prog="edgeapp-workshop", description="Makes, tries and sends what devices run.")
    parser.add_argument("--version", action="version", version=f"edgeapp-workshop {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    quantize_command.add_command(commands)
    size_command.add_command(commands)
    profile_command.add_command(commands)
    compare_command.add_command(commands)
    convert_command.add_command(commands)
    describe_command.add_command(commands)
    keys_command.add_commands(commands)
    release_command.add_command(commands)
    site_command.add_command(commands)
    update_command.add_commands(commands)
    rollout_command.add_commands(commands)
    devices_command.add_commands(commands)
    oracle_command.add_command(commands)
    tuf_client.add_command(commands)
    chosen = parser.parse_args(arguments)
    status: int = chosen.function(chosen)
    return status


if __name__ == "__main__":
    sys.exit(main())
