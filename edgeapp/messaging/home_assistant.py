"""How the device introduces itself to Home Assistant: its device-based MQTT discovery message, pure.

Owns the table of entities: what Home Assistant shows is one line each. Needs Home Assistant 2024.12 or later; the form
is documented at https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload. Values come from the
messages that every reader gets; nothing is published for Home Assistant alone but this description.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from edgeapp.messaging.topics import Topics


@dataclass(frozen=True, slots=True)
class Entity:
    """One value of a topic, as Home Assistant shows it.

    `value` is a Jinja expression over `value_json`, the message. Where not every message of the topic has the value, it
    ends in `if … else this.state`.
    """

    key: str
    name: str
    topic: Literal["telemetry", "counts"]
    value: str
    unit: str | None = None
    device_class: str | None = None


def _entered(level: str) -> str:
    """Of all classes together; a class may be suppressed, and the whole family without a share of the budget."""
    is_there = f"value_json.level == '{level}' and 'entered' in value_json.counts"
    return f"value_json.counts.entered.values() | select('number') | sum if {is_there} else this.state"


ENTITIES = (
    Entity("temperature", "Chip temperature", "telemetry", "value_json.sys.temp_c", "°C", "temperature"),
    Entity("fps", "Frames per second", "telemetry", "value_json.inf.fps", "fps"),
    Entity("p95", "Inference time, 95th percentile", "telemetry", "value_json.inf.p95_ms", "ms", "duration"),
    Entity("entered_hour", "Entered, last full hour, with noise", "counts", _entered("hour")),
    Entity("entered_day", "Entered, last full day, with noise", "counts", _entered("day")),
)


def topic(prefix: str, topics: Topics) -> str:
    """Where Home Assistant looks for the description of this device."""
    return f"{prefix}/device/{_id(topics)}/config"


def description(topics: Topics, app_version: str) -> bytes:
    """The description of the device and its entities."""
    own = _id(topics)
    components = {"status": _status(topics, own)} | {each.key: _sensor(each, topics, own) for each in ENTITIES}
    fields = {
        "device": {"identifiers": [own], "name": topics.device, "manufacturer": "edgeapp", "sw_version": app_version},
        "origin": {"name": "edgeapp", "sw_version": app_version},
        "components": components,
        "qos": 1,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _id(topics: Topics) -> str:
    # Neither name may hold an underscore, so that no two devices share an id.
    return f"edgeapp_{topics.tenant}_{topics.device}"


def _status(topics: Topics, own: str) -> dict[str, Any]:
    return {
        "platform": "binary_sensor",
        "unique_id": f"{own}_status",
        "name": "Status",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "state_topic": topics.status,
        "value_template": "{{ value_json.state }}",
        "payload_on": "online",
        "payload_off": "offline",
    }


def _sensor(entity: Entity, topics: Topics, own: str) -> dict[str, Any]:
    described = {"unit_of_measurement": entity.unit, "device_class": entity.device_class}
    return {
        "platform": "sensor",
        "unique_id": f"{own}_{entity.key}",
        "name": entity.name,
        "state_class": "measurement",
        "state_topic": topics.report(entity.topic),
        "value_template": f"{{{{ {entity.value} }}}}",
        "availability_topic": topics.status,
        "availability_template": "{{ value_json.state }}",
        **{key: value for key, value in described.items() if value is not None},
    }
