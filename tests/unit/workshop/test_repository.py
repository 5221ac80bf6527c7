"""Keys and their roles: what devices believe after keys were made, replaced and revoked."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from edgeapp.errors import KeyringError, ReleaseError
from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.command import OPERATORS_PATH, Operators, check_signatures, read_document, read_message
from edgeapp.workshop import key_roles
from edgeapp.workshop.keyring import Keyring
from tests.fakes.releases import NOW_S, pack
from tests.fakes.workshop_lab import NOW, Desk, Device, new_desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return new_desk(tmp_path)


@pytest.fixture
def device(desk: Desk) -> Device:
    return Device(desk.folder / "device", desk.repository.first_root)


def _rotate(desk: Desk, name: str) -> str:
    taken = set(desk.keyring.names())
    new_name = key_roles.next_name(name, taken)
    key_roles.rotate(desk.repository, name, new_name, desk.keyring.create(new_name), NOW)
    return new_name


def _operators(desk: Desk) -> Operators:
    """The list as a device reads it."""
    return read_document(Operators, (desk.repository.folder / "targets" / OPERATORS_PATH).read_bytes(), OPERATORS_PATH)


def test_a_device_takes_a_new_repository_with_the_expiries_of_the_design(desk: Desk, device: Device) -> None:
    trusted = device.refresh(desk.repository.folder)
    assert list(trusted.targets) == [OPERATORS_PATH]
    days = {}
    for role in ("root", "targets", "snapshot", "timestamp"):
        metadata = desk.repository.newest(role)
        assert metadata is not None
        days[role] = (metadata.signed.expires - NOW).days
    assert days == {"root": 365, "targets": 180, "snapshot": 30, "timestamp": 14}


def test_no_repository_is_begun_over_another_or_over_keys(desk: Desk) -> None:
    with pytest.raises(ReleaseError, match="expected no repository"):
        key_roles.create_repository(desk.repository, desk.keyring, key_roles.KeyPlan(), NOW)
    shutil.rmtree(desk.repository.folder)
    with pytest.raises(KeyringError, match="expected none of these keys, found root1"):
        key_roles.create_repository(desk.repository, desk.keyring, key_roles.KeyPlan(), NOW)
    plan = key_roles.KeyPlan(root_threshold=4)
    with pytest.raises(ReleaseError, match="threshold of 1 to 3"):
        key_roles.create_repository(desk.repository, Keyring(desk.folder / "others"), plan, NOW)


def test_two_signers_at_two_machines_fill_a_threshold_together(desk: Desk, device: Device) -> None:
    device.refresh(desk.repository.folder)
    desk.repository.stage_targets(desk.repository.targets(), NOW)
    assert desk.repository.sign(desk.sticks("targets1")) == ["targets1"]
    (waiting,) = desk.repository.waiting()
    assert (waiting.signed, waiting.others, waiting.missing) == (("targets1",), ("targets2", "targets3"), 1)
    desk.repository.refresh(desk.keyring, NOW)
    assert device.refresh(desk.repository.folder).versions.targets == 1
    carried = Desk(desk.folder / "second machine")
    carried.folder.mkdir()
    shutil.copytree(desk.repository.folder, carried.repository.folder)
    carried.repository.sign(desk.sticks("targets3"))
    assert carried.repository.waiting() == []
    carried.repository.refresh(desk.sticks("snapshot1", "timestamp1"), NOW)
    assert device.refresh(carried.repository.folder).versions.targets == 2


def test_the_same_signer_twice_is_one_signer(desk: Desk) -> None:
    desk.repository.stage_targets(desk.repository.targets(), NOW)
    stick = desk.sticks("targets1")
    for _ in range(2):
        desk.repository.sign(stick, ["targets1"])
    assert [one.missing for one in desk.repository.waiting()] == [1]


def test_what_changes_after_a_signature_needs_it_again(desk: Desk) -> None:
    desk.repository.stage_targets(desk.repository.targets(), NOW)
    desk.repository.sign(desk.sticks("targets1"))
    key_roles.add_operator(
        desk.repository, key_roles.make_operator("ben", desk.keyring.create("ben"), ("cancel",)), NOW
    )
    (waiting,) = desk.repository.waiting()
    assert (waiting.signed, waiting.missing, waiting.version) == ((), 2, 2)


def test_a_key_that_may_not_sign_is_refused(desk: Desk) -> None:
    with pytest.raises(ReleaseError, match="found nothing"):
        desk.repository.sign(desk.keyring)
    desk.repository.stage_targets(desk.repository.targets(), NOW)
    with pytest.raises(KeyringError, match="found anna, snapshot1"):
        desk.repository.sign(desk.keyring, ["anna", "snapshot1", "targets1"])
    assert [one.signed for one in desk.repository.waiting()] == [()]


@pytest.mark.parametrize("name", ["root2", "targets2", "snapshot1", "timestamp1"])
def test_devices_follow_a_replaced_key_and_believe_the_old_one_no_more(desk: Desk, device: Device, name: str) -> None:
    before = device.refresh(desk.repository.folder)
    new_name = _rotate(desk, name)
    desk.repository.sign(desk.keyring)
    desk.repository.refresh(desk.keyring, NOW)
    after = device.refresh(desk.repository.folder)
    assert (before.versions.root, after.versions.root) == (1, 2)
    role = "root" if name.startswith("root") else name.rstrip("0123456789")
    assert key_roles.members(desk.repository)[role].keys() >= {new_name}
    if role == "targets":
        desk.repository.stage_targets(desk.repository.targets(), NOW)
        with pytest.raises(KeyringError, match="targets2"):
            desk.repository.sign(desk.keyring, [name])
    elif role in ("snapshot", "timestamp"):
        with pytest.raises(KeyringError, match=f"the key of {role}"):
            desk.repository.refresh(desk.sticks(name, "snapshot1" if role == "timestamp" else "timestamp1"), NOW)


def test_a_root_needs_the_signatures_of_the_old_keys_and_of_the_new_ones(desk: Desk, device: Device) -> None:
    device.refresh(desk.repository.folder)
    for name in ("root1", "root2"):
        _rotate(desk, name)
    desk.repository.sign(desk.sticks("root4", "root5"))  # enough of the new, none of the old
    assert [one.role for one in desk.repository.waiting()] == ["root"]
    assert desk.repository.newest("root").signed.version == 1  # type: ignore[union-attr]
    desk.repository.sign(desk.sticks("root1", "root3"))
    assert desk.repository.waiting() == []
    assert device.refresh(desk.repository.folder).versions.root == 2


def test_targets_are_finished_only_under_a_finished_root(desk: Desk) -> None:
    _rotate(desk, "targets2")
    desk.repository.sign(desk.sticks("targets1", "targets4"))
    assert [(one.role, one.missing) for one in desk.repository.waiting()] == [("root", 2), ("targets", 0)]
    desk.repository.sign(desk.sticks("root1", "root2"))
    assert desk.repository.waiting() == []


def test_a_revoked_release_key_moves_no_device(desk: Desk, device: Device) -> None:
    key_roles.revoke(desk.repository, "targets3", NOW)
    desk.repository.sign(desk.keyring)
    desk.repository.refresh(desk.keyring, NOW)
    device.refresh(desk.repository.folder)
    targets = desk.repository.newest("targets")
    assert targets is not None
    targets.signed.version += 1
    for number, name in enumerate(("targets1", "targets3")):  # a thief of targets3, and one honest signature
        targets.sign(desk.keyring.signer(name), append=number > 0)
    path = desk.repository.metadata_dir / f"{targets.signed.version}.targets.json"
    path.write_bytes(targets.to_bytes())
    desk.repository.refresh(desk.keyring, NOW)
    with pytest.raises(UpdateError) as caught:
        device.refresh(desk.repository.folder)
    assert caught.value.reason.code is Code.E_MD_SIG


def test_no_role_is_left_with_fewer_keys_than_must_sign(desk: Desk) -> None:
    key_roles.revoke(desk.repository, "targets3", NOW)
    with pytest.raises(ReleaseError, match="keys rotate targets2 replaces it"):
        key_roles.revoke(desk.repository, "targets2", NOW)
    with pytest.raises(ReleaseError, match="operators: expected a threshold of 1 to 0 keys"):
        key_roles.revoke(desk.repository, "anna", NOW)
    with pytest.raises(ReleaseError, match="keys list"):
        key_roles.revoke(desk.repository, "nobody", NOW)


def test_a_command_of_a_revoked_operator_is_followed_no_more(desk: Desk, device: Device) -> None:
    ben = key_roles.make_operator("ben", desk.keyring.create("ben"), ("cancel",))
    key_roles.add_operator(desk.repository, ben, NOW)
    desk.repository.sign(desk.keyring)
    from securesystemslib.dsse import Envelope

    payload = b'{"v":1,"id":"c","seq":1,"iat":%d,"exp":%d,"aud":{"all":true},"op":"cancel"}' % (
        NOW_S - 60,
        NOW_S + 3600,
    )
    envelope = Envelope(payload, "application/vnd.edgeapp.command+json", {})
    envelope.sign(desk.keyring.signer("ben"))
    signed, _ = read_message(pack(envelope.to_dict(), {}))
    assert check_signatures(signed, _operators(desk)) is None
    key_roles.revoke(desk.repository, "ben", NOW)
    assert check_signatures(signed, _operators(desk)) is None  # staged is not signed
    desk.repository.sign(desk.keyring)
    refusal = check_signatures(signed, _operators(desk))
    assert refusal is not None
    assert refusal.code is Code.E_SIG
    desk.repository.refresh(desk.keyring, NOW)
    device.refresh(desk.repository.folder)


def test_a_replaced_operator_keeps_what_may_be_ordered(desk: Desk) -> None:
    new_name = _rotate(desk, "anna")
    (listed,) = desk.repository.operators().operators
    assert (new_name, listed.name, listed.ops) == ("anna2", "anna2", key_roles.ALL_OPERATIONS)
    assert listed.public == desk.keyring.public("anna2")


def test_a_refresh_saves_what_would_expire(desk: Desk, device: Device) -> None:
    later = NOW + timedelta(days=15)
    with pytest.raises(UpdateError) as caught:
        device.refresh(desk.repository.folder, later)
    assert caught.value.reason.code is Code.E_MD_EXPIRED
    desk.repository.refresh(desk.sticks("snapshot1", "timestamp1"), later)
    device.refresh(desk.repository.folder, later)


def test_a_refresh_needs_its_keys(desk: Desk) -> None:
    with pytest.raises(KeyringError, match=r"the key of snapshot \(snapshot1\)"):
        desk.repository.refresh(desk.sticks("timestamp1"), NOW)


def test_a_forged_root_in_the_folder_is_noticed(desk: Desk) -> None:
    root = desk.repository.root()
    root.version = 2
    Metadata(root).to_file(str(desk.repository.metadata_dir / "2.root.json"))
    with pytest.raises(ReleaseError, match=r"2\.root\.json: expected a root signed by those before it"):
        desk.repository.root()


def test_targets_that_somebody_altered_on_the_way_are_not_built_upon(desk: Desk) -> None:
    path = desk.repository.metadata_dir / "1.targets.json"
    path.write_bytes(path.read_bytes().replace(b'"length":', b'"length":1'))
    with pytest.raises(ReleaseError, match=r"1\.targets\.json: expected enough signatures"):
        desk.repository.targets()


def test_what_is_discarded_is_as_if_it_had_never_been_staged(desk: Desk) -> None:
    before = {path: path.read_bytes() for path in desk.repository.folder.rglob("*") if path.is_file()}
    _rotate(desk, "targets1")
    _rotate(desk, "anna")
    desk.repository.discard()
    assert {path: path.read_bytes() for path in desk.repository.folder.rglob("*") if path.is_file()} == before


def test_names_of_keys_go_on_counting() -> None:
    assert key_roles.next_name("targets2", {"targets1", "targets2", "targets3"}) == "targets4"
    assert key_roles.next_name("anna", {"anna", "ben"}) == "anna2"
    assert key_roles.next_name("anna2", {"anna2"}) == "anna3"
