"""A state file holds exactly what was written, or is refused."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.manifest import FileSpec
from edgeapp.updates.codes import UpdateError
from edgeapp.updates.facts import MetadataFloor
from edgeapp.updates.phases import Phase
from edgeapp.updates.state import FRESH, MAX_BLOCKED, MAX_HISTORY, Ending, KeptCommand, Release, State, parse, serialise
from edgeapp.updates.trial import Conduct

SHA256 = st.text("0123456789abcdef", min_size=64, max_size=64)
SEQS = st.integers(0, 1 << 53)
COMMANDS = st.builds(
    KeptCommand, id=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True), seq=SEQS, sha256=SHA256
)
FILES = st.builds(
    FileSpec,
    file=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True),
    sha256=SHA256,
    size_bytes=st.integers(1, 1 << 31),
)
RELEASES = st.builds(
    Release,
    name=st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True),
    version=st.integers(1, 1 << 31),
    sha256=SHA256,
    files=st.lists(FILES, min_size=1, max_size=3).map(tuple),
)
CONDUCTS = st.builds(
    Conduct,
    seconds=st.floats(0, 1e9),
    inferred=SEQS,
    failures=SEQS,
    p95_ms=st.none() | st.floats(0, 1e5),
    throttled_s=st.floats(0, 1e9),
    rss_mb=st.none() | st.floats(0, 1e5),
    crashes=SEQS,
)
ENDINGS = st.builds(
    Ending,
    command_id=st.just("a"),
    seq=SEQS,
    version=st.none() | st.integers(1, 1 << 31),
    outcome=st.sampled_from(Phase),
    code=st.sampled_from(["", "E_TRIAL_LATENCY"]),
    ended_s=SEQS,
)
STATES = st.builds(
    State,
    format=st.just(1),
    generation=SEQS,
    phase=st.sampled_from(Phase),
    attempts=st.integers(0, 9),
    active=st.none() | RELEASES,
    last_good=st.none() | RELEASES,
    candidate=RELEASES,
    command=COMMANDS,
    newest=st.none() | COMMANDS,
    is_pinned=st.booleans(),
    version_floor=SEQS,
    security_floor=SEQS,
    time_floor_s=SEQS,
    payload_sha256=st.just("") | SHA256,
    metadata=st.builds(MetadataFloor),
    before_trial=st.none() | CONDUCTS,
    history=st.lists(ENDINGS, max_size=3).map(tuple),
    blocked=st.lists(SHA256, max_size=3).map(tuple),
)
FILE = FileSpec(file="model.tflite", sha256="a" * 64, size_bytes=1)
RELEASE = Release(name="person", version=1, sha256="b" * 64, files=(FILE,))


@given(STATES)
def test_what_is_written_is_read(state: State) -> None:
    assert parse(serialise(state), "state.a") == state


def test_a_file_torn_anywhere_is_refused() -> None:
    content = serialise(replace(FRESH, active=RELEASE))
    for size in range(len(content)):
        _expect_refused(content[:size])


def test_a_file_with_any_byte_changed_is_refused() -> None:
    content = serialise(replace(FRESH, active=RELEASE))
    for at in range(len(content)):
        _expect_refused(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": 1},
        {"attempts": 10},
        {"attempts": -1},
        {"attempts": True},
        {"attempts": "1"},
        {"phase": "dancing"},
        {"phase": "received"},
        {"phase": "trial", "command": {"id": "a", "seq": 1, "sha256": "a" * 64}},
        {"format": 2},
        {"generation": None},
        {"history": {}},
        {"blocked": ["../../etc/passwd"]},
        {"active": {"name": "person", "version": 1, "sha256": "a" * 64, "files": []}},
        {
            "active": {
                "name": "person",
                "version": 1,
                "sha256": "a" * 64,
                "files": [{"file": "../model.tflite", "sha256": "a" * 64, "size_bytes": 1}],
            }
        },
    ],
    ids=str,
)
def test_a_state_with_a_valid_checksum_and_a_wrong_value_is_refused(changes: dict[str, Any]) -> None:
    _expect_refused(_sealed({**_plain(FRESH), **changes}))


@pytest.mark.parametrize("key", list(json.loads(serialise(FRESH)[9:])))
def test_nothing_that_is_missing_is_filled_in(key: str) -> None:
    _expect_refused(_sealed({name: value for name, value in _plain(FRESH).items() if name != key}))


def test_the_largest_state_can_be_read() -> None:
    name = "a" * 128
    files = tuple(FileSpec(file=name, sha256="a" * 64, size_bytes=1 << 31) for _ in range(16))
    release = Release(name="a" * 63, version=1 << 31, sha256="b" * 64, files=files)
    command = KeptCommand(id="a" * 64, seq=1 << 53, sha256="c" * 64)
    ending = Ending(
        command_id="a" * 64,
        seq=1 << 53,
        version=1 << 31,
        outcome=Phase.ROLLED_BACK,
        code="E_" + "A" * 40,
        ended_s=1 << 53,
    )
    state = replace(
        FRESH,
        active=release,
        last_good=release,
        candidate=release,
        command=command,
        newest=command,
        history=(ending,) * MAX_HISTORY,
        blocked=("d" * 64,) * MAX_BLOCKED,
    )
    assert parse(serialise(state), "state.a") == state


def _plain(state: State) -> dict[str, Any]:
    return dict(json.loads(serialise(state)[9:]))


def _sealed(document: dict[str, Any]) -> bytes:
    body = json.dumps(document).encode()
    return b"%08x " % zlib.crc32(body) + body


def _expect_refused(content: bytes) -> None:
    with pytest.raises(UpdateError) as raised:
        parse(content, "state.a")
    assert raised.value.code == "E_STATE_LOST"
    assert "state.a" in str(raised.value)
