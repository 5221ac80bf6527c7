"""The store on a real file system: what it makes, what it refuses, and how a failing disk leaves it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeapp.manifest import FileSpec
from edgeapp.updates import changes
from edgeapp.updates.codes import UpdateError
from edgeapp.updates.facts import Floors
from edgeapp.updates.phases import BUSY, Event, Phase
from edgeapp.updates.recovery import SLOTS, Level
from edgeapp.updates.state import FRESH, KeptCommand
from edgeapp.updates.store import Store
from edgeapp.vision.model_folder import open_model_folder
from tests.fakes.power.file_calls import around_file_calls
from tests.fakes.power.kill_points import every_commit, try_kills
from tests.fakes.power.story import FACTORY, NOW_S, Teller, ToldStore, fetch, goods, judge, newest
from tests.fakes.tiny_models import make_model_folder

FAILURES = {errno.ENOSPC: "E_SPACE", errno.EIO: "E_IO", errno.EROFS: "E_IO"}
WRITES = ("write", "fsync", "replace", "link", "unlink", "mkdir", "rmdir")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def teller(root: Path) -> Teller:
    told = Teller(Store(root, FACTORY))
    told.start()
    return told


def restarted(root: Path) -> tuple[Store, list[Level], list[str]]:
    store = Store(root, FACTORY)
    start = store.start(NOW_S)
    return store, [model.level for model in start.models], [each.code for each in start.findings]


def damage(root: Path, version: int) -> None:
    blob = root / "blobs" / goods(version).release.files[1].sha256
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)


def test_a_device_out_of_the_box_runs_the_factory_model(root: Path) -> None:
    store = Store(root, FACTORY)
    start = store.start(NOW_S)
    assert [(model.level, model.folder) for model in start.models] == [(Level.FACTORY, FACTORY)]
    assert start.findings == ()


def test_a_life_leaves_the_active_release_the_last_good_one_and_nothing_else(root: Path, teller: Teller) -> None:
    teller.tell()
    wanted = goods(1).release, goods(2).release
    assert (teller.store.state.active, teller.store.state.last_good) == wanted
    restarted(root)
    teller = Teller(Store(root, FACTORY))
    teller.start()
    teller.store.collect_garbage()
    assert {path.name for path in (root / "releases").iterdir()} == {release.folder_name for release in wanted}
    assert {path.name for path in (root / "blobs").iterdir()} == wanted[0].blobs | wanted[1].blobs
    assert list((root / "stage").iterdir()) == []


def test_vision_can_open_the_folder_of_a_release(tmp_path: Path, teller: Teller) -> None:
    source = make_model_folder(tmp_path / "model")
    store = teller.store
    sums = {path.name: store.keep(path.read_bytes()) for path in source.iterdir()}
    files = tuple(
        FileSpec(file=name, sha256=sha256, size_bytes=(source / name).stat().st_size) for name, sha256 in sums.items()
    )
    release = type(goods(1).release)(name="spot", version=1, sha256=store.keep(b"manifest"), files=files)
    manifest, model = open_model_folder(store.folder(release))
    assert manifest.name == json.loads((source / "model.json").read_text())["name"]
    assert model.read_bytes() == (source / "model.tflite").read_bytes()


@pytest.mark.parametrize("phase", sorted(BUSY))
def test_the_work_goes_on_after_a_restart_in_every_phase(root: Path, phase: Phase) -> None:
    teller = Teller(Store(root, FACTORY))
    teller.start()
    teller.install(1)
    for _ in teller.steps(2):
        if teller.store.state.phase is phase:
            break
    assert teller.store.state.phase is phase
    store, levels, codes = restarted(root)
    assert codes == []
    assert levels[0] is (Level.CANDIDATE if phase is Phase.TRIAL else Level.ACTIVE)
    command = store.state.command
    assert command is not None
    assert store.read(command.sha256) == b"envelope of %d" % command.seq


def test_a_part_survives_a_restart_and_what_is_whole_is_not_fetched_again(root: Path, teller: Teller) -> None:
    teller.install(1)
    for _ in teller.steps(2):
        if teller.store.state.phase is Phase.DOWNLOADING:
            break
    model, labels = goods(2).release.files[1:]
    teller.store.part(model.sha256).write_bytes(b"half")
    store, _, _ = restarted(root)
    assert store.part(model.sha256).read_bytes() == b"half"
    assert store.has(labels.sha256), "the labels came with release 1"
    assert not store.has(model.sha256)


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "E_LENGTH"), (b"person", "E_LENGTH"), (b"person\n\n", "E_LENGTH"), (b"persom\n", "E_HASH")],
)
def test_a_part_that_is_not_the_file_is_refused_and_removed(teller: Teller, content: bytes, code: str) -> None:
    file = goods(1).release.files[2]
    fetch(teller.store, file, content)
    teller.store.part(file.sha256, ".map").write_bytes(b"\1")
    with pytest.raises(UpdateError) as raised:
        teller.store.adopt(file)
    assert raised.value.code == code
    assert not teller.store.has(file.sha256)
    assert not teller.store.part(file.sha256).exists()


def test_a_planted_link_is_not_adopted(tmp_path: Path, teller: Teller) -> None:
    file = goods(1).release.files[2]
    (tmp_path / "elsewhere").write_bytes(b"person\n")
    teller.store.part(file.sha256).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UpdateError):
        teller.store.adopt(file)
    assert not teller.store.has(file.sha256)
    assert (tmp_path / "elsewhere").read_bytes() == b"person\n"


def test_no_state_refers_to_a_candidate_at_risk_that_is_not_whole(root: Path, teller: Teller) -> None:
    store, release = teller.store, goods(1).release
    store.commit(changes.receive(store.state, KeptCommand(id="a", seq=1, sha256=store.keep(b"envelope"))))
    store.commit(changes.accept(store.state, release))
    store.commit(changes.advance(store.state, Event.WINDOW_OPEN))
    before = store.state
    with pytest.raises(UpdateError) as raised:
        store.commit(changes.advance(store.state, Event.FETCHED))
    assert raised.value.code == "E_HASH"
    assert store.state == before == newest(root)


def test_bit_rot_of_the_active_release_is_noticed_and_healed_by_a_new_install(root: Path, teller: Teller) -> None:
    teller.install(1)
    teller.install(2)
    damage(root, 2)
    store, levels, codes = restarted(root)
    assert (levels, codes) == ([Level.ACTIVE, Level.FACTORY], ["E_HASH"])
    assert store.state.active == goods(1).release
    Teller(store).install(2)
    assert restarted(root)[1:] == ([Level.ACTIVE, Level.LAST_GOOD, Level.FACTORY], [])


def test_with_every_release_rotten_the_factory_model_runs(root: Path, teller: Teller) -> None:
    teller.install(1)
    teller.install(2)
    damage(root, 1)
    damage(root, 2)
    assert restarted(root)[1:] == ([Level.FACTORY], ["E_HASH", "E_HASH", "E_NO_LAST_GOOD"])
    assert restarted(root)[1:] == ([Level.FACTORY], [])


def test_both_states_lost_means_the_factory_model_a_code_and_no_loop(root: Path, teller: Teller) -> None:
    teller.install(1)
    for name in SLOTS:
        (root / name).write_bytes((root / name).read_bytes()[:-7])
    assert restarted(root)[1:] == ([Level.FACTORY], ["E_STATE_LOST"] * 3)
    store, levels, codes = restarted(root)
    assert (levels, codes) == ([Level.FACTORY], ["E_STATE_LOST"]), "the slot that was not written yet is torn still"
    Teller(store).install(2)
    assert restarted(root)[1:] == ([Level.ACTIVE, Level.FACTORY], [])


def test_the_older_state_can_still_be_used_when_the_newer_one_rots(root: Path, teller: Teller) -> None:
    teller.install(1)
    teller.install(2)
    new = max((root / name for name in SLOTS), key=lambda path: json.loads(path.read_bytes()[9:])["generation"])
    new.write_bytes(b"rot")
    store, levels, codes = restarted(root)
    assert (levels[0], codes) == (Level.ACTIVE, ["E_STATE_LOST"])
    assert store.state.active == goods(2).release


def test_a_missing_folder_or_a_copied_store_is_put_right(root: Path, teller: Teller, tmp_path: Path) -> None:
    teller.install(1)
    copied = Path(shutil.copytree(root, tmp_path / "copy"))
    for store_root in (copied, root):
        if store_root is root:
            shutil.rmtree(root / "releases")
        store = Store(store_root, FACTORY)
        start = store.start(NOW_S)
        assert start.findings == ()
        for file in goods(1).release.files:
            assert (start.models[0].folder / file.file).samefile(store_root / "blobs" / file.sha256)


def test_the_two_state_files_always_hold_the_last_two_states(root: Path) -> None:
    for _ in range(2):
        teller = Teller(Store(root, FACTORY))
        teller.start()
        for floor in range(1, 4):
            state = teller.store.state
            teller.store.commit(changes.raise_floors(state, Floors(security_floor=state.security_floor + floor)))
            generations = {json.loads((root / name).read_bytes()[9:])["generation"] for name in SLOTS}
            assert generations == {teller.store.state.generation - 1, teller.store.state.generation}


def test_a_commit_of_the_same_state_writes_nothing(root: Path, teller: Teller) -> None:
    before = {name: (root / name).stat().st_ino for name in SLOTS if (root / name).exists()}
    teller.store.commit(teller.store.state)
    assert {name: (root / name).stat().st_ino for name in SLOTS if (root / name).exists()} == before


def test_where_nothing_can_be_written_no_candidate_runs(root: Path, teller: Teller) -> None:
    teller.install(1)
    for _ in teller.steps(2):
        pass

    def refuse(name: str, _arguments: tuple[Any, ...]) -> None:
        if name in WRITES:
            raise OSError(errno.EROFS, "Read-only file system")

    store = Store(root, FACTORY)
    with around_file_calls(before=refuse):
        start = store.start(NOW_S)
    assert [model.level for model in start.models] == [Level.ACTIVE, Level.FACTORY]
    assert "E_IO" in {each.code for each in start.findings}


def test_killed_before_and_after_persisting_in_every_phase(tmp_path: Path) -> None:
    verdict = try_kills(tmp_path, tell_of_a_commit_and_a_rollback, every_commit)
    assert verdict.wrong == []
    assert verdict.tried > 40


def tell_of_a_commit_and_a_rollback(teller: Teller) -> None:
    teller.start()
    teller.install(1)
    teller.install(2, verdict=Event.FAILED)


@pytest.mark.parametrize("error", FAILURES, ids=errno.errorcode.get)
@pytest.mark.parametrize("is_lasting", [False, True])
def test_a_disk_that_fails_at_any_write_gives_a_code_and_loses_nothing(
    tmp_path: Path, error: int, is_lasting: bool
) -> None:
    for number in range(error, 700, 41):
        root = tmp_path / str(number)
        acked, begun, code = told_until_failure(root, error, number, is_lasting=is_lasting)
        assert code in ("", FAILURES[error])
        assert judge(root, acked, begun) == ""
        shutil.rmtree(root)


def told_until_failure(root: Path, error: int, number: int, *, is_lasting: bool) -> tuple[Any, Any, str]:
    """What was acknowledged and begun when a call failed, the `number`-th and perhaps all later ones, and the code."""
    passed, last = 0, {"begun": FRESH, "acked": FRESH}

    def fail(name: str, _arguments: tuple[Any, ...]) -> None:
        nonlocal passed
        if name in WRITES:
            passed += 1
            if passed - 1 == number or (is_lasting and passed > number):
                raise OSError(error, os.strerror(error))

    root.mkdir(parents=True)
    store = ToldStore(root, lambda state: last.update(begun=state), lambda state: last.update(acked=state))
    try:
        with around_file_calls(before=fail):
            Teller(store).tell()
    except UpdateError as failure:
        return last["acked"], last["begun"], failure.code
    except OSError:  # of the story's own downloader
        pass
    return last["acked"], last["begun"], ""
