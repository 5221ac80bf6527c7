"""The words for the light."""

from __future__ import annotations

import json

import pytest

from edgeapp.aim.look import Light, Look, Seen, light_text


@pytest.mark.parametrize(
    ("light", "word"),
    [
        (Light(118, 1, 1), "good"),
        (Light(30, 10, 0), "dim"),
        (Light(20, 60, 0), "dark"),
        (Light(210, 0, 10), "bright"),
        (Light(230, 0, 50), "too bright"),
        (Light(120, 40, 40), "strong contrast"),
    ],
)
def test_the_light_has_a_word(light: Light, word: str) -> None:
    assert light_text(light).startswith(word)


def test_a_look_is_json_for_the_page() -> None:
    look = Look(size=(4, 3), detections=(Seen("person", 0.5, (0.0, 0.1, 0.2, 0.3)),), light=Light(1, 2, 3, "dim"))
    found = json.loads(look.as_json())
    assert found["detections"] == [{"name": "person", "score": 0.5, "box": [0.0, 0.1, 0.2, 0.3]}]
    assert found["light"]["text"] == "dim"
    assert found["invoke_ms"] is None
