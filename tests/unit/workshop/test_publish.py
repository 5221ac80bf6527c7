"""What is published: always what a device takes, never over another repository or a newer state."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from edgeapp.errors import ReleaseError
from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.facts import Floors
from edgeapp.updates.fetchers import METADATA_URL, TARGETS_URL, FolderFiles
from edgeapp.updates.metadata import fetch_target
from edgeapp.updates.release import (
    ReleaseStatus,
    check_policy,
    read_release,
    read_status,
    release_files,
    security_floor,
)
from edgeapp.workshop import key_roles, publish, releases
from edgeapp.workshop.repository import Repository
from tests.fakes.workshop_lab import NOW, Desk, Device, make_release, new_desk

PATH = "releases/bright-spot/7.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A desk with a signed release 7, and an unsigned release 8 beside it."""
    folder = tmp_path_factory.mktemp("made")
    desk = new_desk(folder)
    releases.stage_release(desk.repository, make_release(folder / "seven"), NOW)
    desk.repository.sign(desk.keyring)
    desk.repository.refresh(desk.keyring, NOW)
    make_release(folder / "eight", 8)
    return folder


@pytest.fixture
def desk(made: Path, tmp_path: Path) -> Desk:
    shutil.copytree(made, tmp_path / "desk")
    return Desk(tmp_path / "desk")


@pytest.fixture
def www(tmp_path: Path) -> Path:
    return tmp_path / "www"


@pytest.fixture
def device(desk: Desk, tmp_path: Path) -> Device:
    return Device(tmp_path / "device", desk.repository.first_root)


def _sign(desk: Desk) -> None:
    desk.repository.sign(desk.keyring)
    desk.repository.refresh(desk.keyring, NOW)


def test_a_device_takes_what_was_published_with_every_file(desk: Desk, device: Device, www: Path) -> None:
    publish.publish_folder(desk.repository, www, NOW)
    trusted = device.refresh(www)
    release = read_release(fetch_target(FolderFiles(www), trusted, PATH, 1 << 16), PATH)
    assert read_status(trusted.targets[PATH].custom, PATH) == ReleaseStatus(version=7)
    for spec in release_files(release):
        target = trusted.targets[f"blobs/{spec.sha256}"]
        assert (target.sha256, target.size_bytes) == (spec.sha256, spec.size_bytes)
        assert (www / "targets" / "blobs" / spec.sha256).stat().st_size == spec.size_bytes


def test_python_tufs_own_client_takes_it_too(desk: Desk, www: Path, tmp_path: Path) -> None:
    publish.publish_folder(desk.repository, www, NOW)
    client = Updater(
        str(tmp_path / "tuf"),
        METADATA_URL,
        str(tmp_path / "tuf"),
        TARGETS_URL,
        FolderFiles(www),
        UpdaterConfig(prefix_targets_with_hash=False),
        bootstrap=desk.repository.first_root,
    )
    client._trusted_set.reference_time = NOW
    target = client.get_targetinfo(PATH)
    assert target is not None
    assert Path(client.download_target(target)).read_bytes() == (www / "targets" / PATH).read_bytes()


def test_publishing_again_writes_nothing_anew_and_mends_what_was_damaged(desk: Desk, www: Path) -> None:
    publish.publish_folder(desk.repository, www, NOW)
    before = {path: path.stat().st_ino for path in www.rglob("*")}
    damaged = next((www / "targets" / "blobs").iterdir())
    good = damaged.read_bytes()
    damaged.write_bytes(b"torn")
    publish.publish_folder(desk.repository, www, NOW)
    after = {path: path.stat().st_ino for path in www.rglob("*")}
    assert {path for path in before if before[path] != after[path]} == {damaged}
    assert damaged.read_bytes() == good


def test_a_publication_cut_at_any_file_leaves_the_old_state_to_devices(
    desk: Desk, device: Device, www: Path, tmp_path: Path
) -> None:
    publish.publish_folder(desk.repository, www, NOW)
    old = device.refresh(www)
    releases.stage_release(desk.repository, desk.folder / "eight" / "release", NOW)
    _sign(desk)

    def stop(_: str, share: float, *, last: float) -> None:
        if share > last:
            raise InterruptedError

    for cut in range(10):
        with pytest.raises(InterruptedError):
            publish.publish_folder(desk.repository, www, NOW, functools.partial(stop, last=cut / 10))
        assert device.refresh(www) == old
    publish.publish_folder(desk.repository, www, NOW)
    assert set(device.refresh(www).targets) - set(old.targets) >= {"releases/bright-spot/8.json"}


def test_another_repository_and_a_newer_state_are_left_alone(desk: Desk, www: Path, tmp_path: Path) -> None:
    shutil.copytree(desk.repository.folder, tmp_path / "older")
    older = Repository(tmp_path / "older")
    desk.repository.refresh(desk.keyring, NOW)
    publish.publish_folder(desk.repository, www, NOW)
    before = {path: path.read_bytes() for path in www.rglob("*") if path.is_file()}
    with pytest.raises(ReleaseError, match="this copy of the repository is not the newest"):
        publish.publish_folder(older, www, NOW)
    timestamp = www / "metadata" / "timestamp.json"
    good = timestamp.read_bytes()
    timestamp.write_bytes(b"torn")
    with pytest.raises(ReleaseError, match=r"timestamp\.json: expected TUF metadata"):
        publish.publish_folder(desk.repository, www, NOW)
    timestamp.write_bytes(good)
    (tmp_path / "stranger").mkdir()
    with pytest.raises(ReleaseError, match="one with another first root"):
        publish.publish_folder(new_desk(tmp_path / "stranger").repository, www, NOW)
    assert {path: path.read_bytes() for path in www.rglob("*") if path.is_file()} == before


def test_nothing_is_published_that_a_device_would_refuse(desk: Desk, www: Path) -> None:
    blob = next((desk.repository.targets_dir / "blobs").iterdir())
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + b"?")
    with pytest.raises(ReleaseError, match="expected the release's"):
        publish.publish_folder(desk.repository, www, NOW)
    blob.write_bytes(content)
    key_roles.rotate(desk.repository, "targets1", "targets4", desk.keyring.create("targets4"), NOW)
    desk.repository.sign(desk.sticks("root1", "root2"))  # the root is finished, the targets wait for their new key
    desk.repository.refresh(desk.keyring, NOW)
    with pytest.raises(UpdateError) as caught:
        publish.publish_folder(desk.repository, www, NOW)
    assert caught.value.reason.code is Code.E_MD_SIG
    assert not www.exists()


def test_a_stick_that_is_not_there_is_not_written_to(desk: Desk, device: Device, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="nothing was written"):
        publish.publish_stick(desk.repository, tmp_path / "stick", NOW)
    (tmp_path / "stick").mkdir()
    publish.publish_stick(desk.repository, tmp_path / "stick", NOW)
    assert PATH in device.refresh(tmp_path / "stick" / "edgeapp").targets


def test_a_withdrawn_release_is_refused_by_devices_and_its_floor_stays(desk: Desk, device: Device, www: Path) -> None:
    releases.stage_release(desk.repository, desk.folder / "eight" / "release", NOW)
    _sign(desk)
    releases.withdraw(desk.repository, "bright-spot/7", NOW, security_floor=8)
    assert releases.changes(desk.repository) == [
        f"changes: release bright-spot/7 ({releases.releases(desk.repository)[1].sha256[:16]}…), withdrawn, "
        "security floor 8"
    ]
    _sign(desk)
    publish.publish_folder(desk.repository, www, NOW)
    trusted = device.refresh(www)
    status, target = read_status(trusted.targets[PATH].custom, PATH), trusted.targets[PATH]
    refusal = check_policy(status, target.sha256, Floors(), may_downgrade=True)
    assert refusal is not None
    assert refusal.code is Code.E_WITHDRAWN
    assert security_floor((one.custom for one in trusted.targets.values()), 0) == 8


def test_versions_only_rise_and_a_staged_release_may_be_made_anew(desk: Desk) -> None:
    with pytest.raises(ReleaseError, match="expected a version above 7"):
        releases.stage_release(desk.repository, desk.folder / "seven" / "release", NOW)
    for _ in range(2):
        assert releases.stage_release(desk.repository, desk.folder / "eight" / "release", NOW) == "bright-spot/8"
    assert [release.name for release in releases.releases(desk.repository)] == ["bright-spot/8", "bright-spot/7"]
    with pytest.raises(ReleaseError, match="release list"):
        releases.withdraw(desk.repository, "bright-spot/9", NOW)


def test_an_old_release_is_forgotten_with_its_files_but_never_what_devices_must_know(desk: Desk) -> None:
    with pytest.raises(ReleaseError, match="not the newest"):
        releases.forget(desk.repository, "bright-spot/7", NOW)
    releases.stage_release(desk.repository, desk.folder / "eight" / "release", NOW)
    _sign(desk)
    before = set(desk.repository.targets().targets)
    old, new = (set(release_files(release.manifest)) for release in reversed(releases.releases(desk.repository)))
    releases.forget(desk.repository, "bright-spot/7", NOW)
    assert releases.changes(desk.repository) == [f"forgotten: {PATH}"]
    gone = {PATH, *(f"blobs/{spec.sha256}" for spec in old - new)}
    assert before - set(desk.repository.targets().targets) == gone
    desk.repository.discard()
    releases.withdraw(desk.repository, "bright-spot/7", NOW, security_floor=8)
    with pytest.raises(ReleaseError, match="another release to tell security floor 8"):
        releases.forget(desk.repository, "bright-spot/7", NOW)


def test_a_release_whose_files_were_touched_is_not_taken_in(desk: Desk) -> None:
    folder = desk.folder / "eight" / "release"
    blob = next((folder / "blobs").iterdir())
    blob.write_bytes(blob.read_bytes() + b"!")
    with pytest.raises(ReleaseError, match="expected the release's"):
        releases.stage_release(desk.repository, folder, NOW)
    blob.unlink()
    with pytest.raises(ReleaseError, match="found nothing"):
        releases.stage_release(desk.repository, folder, NOW)
    assert desk.repository.waiting() == []
    with pytest.raises(ReleaseError, match="with one release, found 0"):
        releases.stage_release(desk.repository, desk.folder, NOW)


def test_a_signer_is_told_what_the_signature_changes(desk: Desk) -> None:
    desk.repository.stage_targets(desk.repository.targets(), NOW)
    assert releases.changes(desk.repository) == ["nothing but a later expiry"]
    name = releases.stage_release(desk.repository, desk.folder / "eight" / "release", NOW, security_floor=7)
    ben = key_roles.make_operator("ben", desk.keyring.create("ben"), ("cancel", "status"))
    key_roles.add_operator(desk.repository, ben, NOW, threshold=2)
    key_roles.revoke(desk.repository, "targets2", NOW)
    sha256 = releases.releases(desk.repository)[0].sha256

    def signer(name: str) -> str:
        return f"{name} ({desk.keyring.public(name)[:16]}…)"

    assert releases.changes(desk.repository) == [
        f"new: release {name} ({sha256[:16]}…), in force, security floor 7",
        "operators, 2 must sign: anna: install, rollback, cancel, pin, unpin, status; ben: cancel, status",
        f"targets: 2 of {signer('targets1')}, {signer('targets3')} must sign",
    ]


def test_a_signer_is_told_of_a_manifest_that_was_exchanged_under_its_name(desk: Desk) -> None:
    path = desk.repository.targets_dir / PATH
    path.write_bytes(path.read_bytes().replace(b'"semver":"1.7.0"', b'"semver":"1.7.1"'))
    targets = desk.repository.targets()
    custom = targets.targets[PATH].unrecognized_fields
    targets.targets[PATH] = TargetFile.from_data(PATH, path.read_bytes(), ["sha256"])
    targets.targets[PATH].unrecognized_fields.update(custom)
    desk.repository.stage_targets(targets, NOW)
    (line,) = releases.changes(desk.repository)
    assert line.startswith("changes: release bright-spot/7 (")
