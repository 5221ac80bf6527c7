from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.updates.codes import UpdateError
from edgeapp.updates.messages import (
    OUTCOMES,
    CommandId,
    CommandResult,
    Event,
    PastUpdate,
    ReleaseId,
    UpdateStatus,
    event_message,
    read_event,
    read_result,
    result_message,
)

_OLD = ReleaseId(name="people", version=3, sha256="ab" * 32)
_NEW = ReleaseId(name="people", version=4, sha256="cd" * 32)
_EVENT = Event(
    device="kiosk-7",
    boot="0123456789abcdef",
    seq=13,
    lost=0,
    app="0.1.0",
    at=1_700_000_200,
    command=CommandId(id="install-18", seq=18),
    phase="rolled_back",
    code="E_TRIAL_LATENCY",
    text="p95 expected at most 1.2 times 41 ms, found 93 ms",
    release=_NEW,
    active=_OLD,
)
_RESULT = CommandResult(
    device="kiosk-7",
    boot="0123456789abcdef",
    seq=14,
    lost=0,
    app="0.1.0",
    at=1_700_000_300,
    command=CommandId(id="status-19", seq=19),
    update=UpdateStatus(
        phase="idle",
        active=_OLD,
        last_good=None,
        candidate=None,
        is_pinned=False,
        version_floor=3,
        security_floor=0,
        blocked=("cd" * 32,),
        history=(
            PastUpdate(
                command_id="install-18",
                seq=18,
                version=4,
                outcome="rolled_back",
                code="E_TRIAL_LATENCY",
                ended_s=1_700_000_200,
            ),
        ),
    ),
)
_PHASES = st.sampled_from(["received", "verified", "wait_window", "downloading", "trial", *sorted(OUTCOMES)])
_EVENTS = st.builds(
    replace,
    st.just(_EVENT),
    phase=_PHASES,
    text=st.text(max_size=400),
    seq=st.integers(0, 1 << 53),
    lost=st.integers(0, 1 << 53),
    command=st.none() | st.just(_EVENT.command),
    release=st.none() | st.just(_NEW),
    active=st.none() | st.just(_OLD),
)


def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema: dict[str, Any] = json.loads((resources.files("edgeapp") / "schemas" / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@given(_EVENTS)
def test_every_event_fits_its_schema_and_comes_back_as_it_was_but_for_the_text(event: Event) -> None:
    content = event_message(event)
    _validator("event-v1").validate(json.loads(content))
    read = read_event(content)
    assert replace(read, text="") == replace(event, text="")
    assert len(read.text) <= 300
    assert read.text.isprintable() or not re.search(r"[\x00-\x1f\x7f-\x9f]", read.text)


def test_a_result_fits_its_schema_and_comes_back_as_it_was() -> None:
    content = result_message(_RESULT)
    _validator("cmd-result-v1").validate(json.loads(content))
    assert read_result(content) == _RESULT


def test_the_examples_in_the_documentation_are_these() -> None:
    text = (Path(__file__).parents[3] / "docs" / "messages.md").read_text()
    examples = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert read_event(examples[3].encode()) == _EVENT
    assert read_result(examples[4].encode()) == _RESULT


def test_schema_and_reader_know_the_same_phases() -> None:
    schema = _validator("event-v1").schema
    assert isinstance(schema, dict)
    for phase in schema["properties"]["phase"]["enum"]:
        assert read_event(event_message(replace(_EVENT, phase=phase))).phase == phase


@pytest.mark.parametrize(
    "change",
    [
        {"device": "a/b"},
        {"boot": "x"},
        {"phase": "done"},
        {"seq": -1},
        {"code": "nothing"},
        {"text": "\x1b[2J"},
        {"counts": 3},
        {"active": {"name": "people", "version": 0, "sha256": "ab" * 32}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_no_event_is_refused_by_reader_and_schema(change: dict[str, Any]) -> None:
    fields = {**asdict(_EVENT), **change}
    with pytest.raises(UpdateError, match="event"):
        read_event(json.dumps(fields).encode())
    if "text" not in change:  # the schema leaves control characters to the reader
        assert not _validator("event-v1").is_valid(fields)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for read in (read_event, read_result):
        with pytest.raises(UpdateError):
            read(content)
