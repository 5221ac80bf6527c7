from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jinja2
import jsonschema
import pytest

from edgeapp.messaging import home_assistant
from edgeapp.messaging.home_assistant import ENTITIES
from edgeapp.messaging.topics import Topics

_TOPICS = Topics(tenant="default", device="kiosk-7")
_DATA = Path(__file__).parents[2] / "data"
_SCHEMAS = Path(home_assistant.__file__).parents[1] / "schemas"


def _described() -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(home_assistant.description(_TOPICS, "0.1.0"))
    return fields


@pytest.fixture
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((_DATA / "home-assistant-discovery.schema.json").read_text()))


def test_the_description_is_what_home_assistant_documents(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(_described())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda fields: fields.pop("origin"),
        lambda fields: fields["device"].pop("identifiers"),
        lambda fields: fields["components"]["fps"].pop("unique_id"),
        lambda fields: fields["components"]["fps"].pop("platform"),
        lambda fields: fields["components"]["fps"].update(state_topics="x"),
        lambda fields: fields["components"]["temperature"].update(unit_of_measurement="C"),
    ],
)
def test_the_schema_refuses_what_home_assistant_would_not_take(
    validator: jsonschema.Draft202012Validator, spoil: Any
) -> None:
    fields = copy.deepcopy(_described())
    spoil(fields)
    assert not validator.is_valid(fields)


def test_the_topic_is_that_of_one_device_and_no_other() -> None:
    found = {
        home_assistant.topic("homeassistant", Topics(tenant, device))
        for tenant, device in (("a", "b-c"), ("a-b", "c"), ("a", "b"))
    }
    assert len(found) == 3
    assert all(re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", topic) for topic in found)


def test_every_entity_shows_a_value_that_its_message_has() -> None:
    for entity in ENTITIES:
        schema = json.loads((_SCHEMAS / f"{entity.topic}-v1.schema.json").read_text())
        paths = re.findall(r"value_json\.(\w+(?:\.\w+\b(?!\())*)", entity.value)
        assert paths
        for path in paths:
            part = schema
            for name in path.split("."):
                part = part["properties"][name]
    assert len({entity.key for entity in ENTITIES}) == len(ENTITIES)


@pytest.mark.parametrize(
    ("level", "counts", "shown"),
    [
        ("hour", {"entered": {"person": 12, "bicycle": -3}}, "9"),
        ("hour", {"entered": {"person": 12, "bicycle": None}}, "12"),
        ("day", {"entered": {"person": 12}}, "before"),
        ("hour", {"dwell": {}}, "before"),
    ],
)
def test_counts_of_the_hour_are_those_of_all_classes_and_stay_until_the_next_ones(
    level: str, counts: dict[str, Any], shown: str
) -> None:
    template = jinja2.Template(_described()["components"]["entered_hour"]["value_template"])
    assert template.render(value_json={"level": level, "counts": counts}, this={"state": "before"}) == shown


def test_values_are_unavailable_while_the_device_is_offline_but_its_status_is_not() -> None:
    components = _described()["components"]
    assert "availability_topic" not in components.pop("status")
    assert {each["availability_topic"] for each in components.values()} == {_TOPICS.status}
