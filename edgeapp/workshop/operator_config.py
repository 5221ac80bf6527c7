"""operator.yaml: where an operator's broker is, and where the tool keeps its numbers and what it heard.

Owns the file's form. A relative path counts from the folder of the file.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from edgeapp.config import MqttConfig
from edgeapp.errors import CommandError
from edgeapp.reader import read_yaml
from edgeapp.updates.messages import DeviceId


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorConfig:
    """What the operator's tool works with. `tenant` and `mqtt` are as in a device's config.yaml."""

    tenant: DeviceId = "default"
    mqtt: MqttConfig
    state: str = "operator-state"


@dataclass(frozen=True, slots=True)
class Workplace:
    """The configuration with its paths made whole; the state folder is there."""

    tenant: str
    mqtt: MqttConfig
    state: Path


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--config` to a command."""
    parser.add_argument(
        "--config", type=Path, default=Path("operator.yaml"), metavar="FILE", help="(default operator.yaml)"
    )


def load_workplace(path: Path) -> Workplace:
    """What the file says, with the state folder made.

    Raises:
        ConfigMistakesError: it is malformed; every mistake is listed.
        CommandError: it cannot be read, or the state folder cannot be made.
    """
    try:
        config = read_yaml(OperatorConfig, path.read_bytes(), str(path))
        state = path.parent / config.state
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{error.filename}: expected to be usable, found: {error.strerror}") from error
    return Workplace(config.tenant, config.mqtt, state)
