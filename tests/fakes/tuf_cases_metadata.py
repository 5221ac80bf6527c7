"""Cases of the top-level metadata: the workflow, the root's chain, thresholds, going back, time."""

from __future__ import annotations

import json
import time
from functools import partial

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole

from tests.fakes.tuf_case import CASES, case
from tests.fakes.tuf_site import TOP, Client, Site, later

_FILE = b"content of a file"

# -- the workflow


@case("first refresh: asks for the next root, timestamp, snapshot, targets, and keeps their bytes")
def _(site: Site, client: Client) -> None:
    assert site.asked == [], "init asks for nothing"
    assert client.refresh() == 0
    assert site.asked == [f"metadata/{name}.json" for name in ("2.root", "timestamp", "1.snapshot", "1.targets")]
    for role in TOP:
        assert (client.metadata / f"{role}.json").read_bytes() == site.served[site.path_of(role)]


@case("second refresh: asks for the next root and the timestamp only")
def _(site: Site, client: Client) -> None:
    assert client.refresh() == 0
    site.asked.clear()
    assert client.refresh() == 0
    assert site.asked == ["metadata/2.root.json", "metadata/timestamp.json"]


@case("download of an unknown target: refreshes, fails, keeps nothing")
def _(site: Site, client: Client) -> None:
    assert client.download("nothing") == 1
    assert (client.versions(), client.got()) == (dict.fromkeys(TOP, 1), [])


@case("without consistent snapshot: names without versions and hashes")
def _(site: Site, client: Client) -> None:
    site.add_file("targets", "a/file", _FILE)
    site.release("targets")
    assert client.download("a/file") == 0
    assert site.asked[1:] == [
        "metadata/timestamp.json",
        "metadata/snapshot.json",
        "metadata/targets.json",
        "targets/a/file",
    ]


@case("first root without a version: no refresh, no request")
def _(site: Site, client: Client) -> None:
    content = json.loads(site.served["metadata/1.root.json"])
    del content["signed"]["version"]
    client.init(json.dumps(content).encode())
    assert (client.refresh(), site.asked) == (1, [])


@case("first root with a false signature: no refresh, no request")
def _(site: Site, client: Client) -> None:
    content = json.loads(site.served["metadata/1.root.json"])
    content["signatures"][0]["sig"] = "0" * 128
    client.init(json.dumps(content).encode())
    assert (client.refresh(), site.asked) == (1, [])


@case("unknown fields in root, role and key are signed, too")
def _(site: Site, client: Client) -> None:
    root = site.root
    root.unrecognized_fields["a"] = {"b": [1, None]}
    root.roles["timestamp"].unrecognized_fields["c"] = "d"
    root.keys[root.roles["targets"].keyids[0]].unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    site.publish("root")
    assert (client.refresh(), client.versions()["root"]) == (0, 2)


# -- the root's chain

_PEOPLE = [CryptoSigner.generate_ed25519() for _ in range(8)]
# keys, threshold and signers of each version of the root; whether the last one is to be taken
_CHAINS: dict[str, tuple[list[tuple[str, int, str]], bool]] = {
    "one key replaced, signed by both": ([("0", 1, "0"), ("1", 1, "01"), ("1", 1, "1")], True),
    "strangers sign as well": ([("0", 1, "607"), ("1", 1, "6017")], True),
    "any two of three": ([("012", 2, "01"), ("012", 2, "12"), ("012", 2, "20")], True),
    "all of three replaced": ([("012", 2, "01"), ("345", 2, "0134"), ("345", 2, "45")], True),
    "threshold raised": ([("012", 1, "0"), ("012", 2, "12")], True),
    "threshold lowered": ([("012", 2, "01"), ("012", 1, "02"), ("012", 1, "2")], True),
    "a key more": ([("0", 1, "0"), ("01", 2, "01")], True),
    "not signed by the old key": ([("0", 1, "0"), ("1", 1, "16")], False),
    "not signed by the new key": ([("0", 1, "0"), ("1", 1, "06")], False),
    "too few old keys": ([("012", 2, "01"), ("123", 2, "13")], False),
    "too few new keys": ([("012", 2, "01"), ("234", 2, "012")], False),
    "raised threshold not reached": ([("012", 1, "0"), ("012", 2, "1")], False),
    "lowered threshold does not count yet": ([("012", 2, "01"), ("012", 1, "1")], False),
    "the same signer twice": ([("012", 2, "01"), ("012", 2, "11")], False),
}


def _run_chain(site: Site, client: Client, chain: list[tuple[str, int, str]], is_good: bool) -> None:
    contents = []
    for version, (keys, threshold, signers) in enumerate(chain, start=1):
        site.replace_keys("root", *(_PEOPLE[int(key)] for key in keys), threshold=threshold)
        site.signers["root"] = [_PEOPLE[int(signer)] for signer in signers]
        site.root.version = version
        contents.append(site.serve("root"))
    assert client.init(contents[0]) == 0
    assert client.refresh() == (0 if is_good else 1)
    assert (client.metadata / "root.json").read_bytes() == contents[-1 if is_good else -2]


for _name, (_chain, _is_good) in _CHAINS.items():
    CASES[f"root: {_name}: {'taken' if _is_good else 'refused'}"] = partial(_run_chain, chain=_chain, is_good=_is_good)


@case("root: a hundred versions behind")
def _(site: Site, client: Client) -> None:
    for _ in range(100):
        site.publish("root")
    assert (client.refresh(), client.versions()["root"]) == (0, 101)


@case("root: a version is missing, so the chain ends before it")
def _(site: Site, client: Client) -> None:
    for _ in range(3):
        site.publish("root")
    del site.served["metadata/3.root.json"]
    assert (client.refresh(), client.versions()["root"]) == (0, 2)


@case("root: another version inside than its name says")
def _(site: Site, client: Client) -> None:
    site.root.version = 3
    site.served["metadata/2.root.json"] = site.sign("root")
    assert (client.refresh(), client.versions()["root"]) == (1, 1)


@case("root: expired is kept, and nothing is taken after it")
def _(site: Site, client: Client) -> None:
    assert client.refresh() == 0
    site.root.expires = later(-1)
    site.publish("root")
    site.release("targets")
    assert client.refresh() == 1
    assert client.versions() == {"root": 2, "timestamp": 1, "snapshot": 1, "targets": 1}


@case("root: expired in the middle of the chain does no harm")
def _(site: Site, client: Client) -> None:
    site.root.expires = later(-1)
    site.publish("root")
    site.root.expires = later(1)
    site.publish("root")
    assert (client.refresh(), client.versions()["root"]) == (0, 3)


# -- keys and thresholds of the other roles


def _sign_role(site: Site, client: Client, role: str, keys: str, threshold: int, signers: str) -> int:
    site.replace_keys(role, *(_PEOPLE[int(key)] for key in keys), threshold=threshold)
    site.signers[role] = [_PEOPLE[int(signer)] for signer in signers]
    site.publish("root")
    site.release(*([] if role in ("snapshot", "timestamp") else [role]))
    return client.refresh()


for _role in ("timestamp", "snapshot", "targets"):
    for _keys, _threshold, _signers, _status in (
        ("0", 1, "0", 0),
        ("0", 1, "607", 0),
        ("012", 2, "02", 0),
        ("01234", 3, "431", 0),
        ("0", 1, "67", 1),
        ("012", 2, "0", 1),
        ("012", 2, "056", 1),
        ("012", 2, "11", 1),
        ("01", 3, "01", 1),
    ):
        _words = f"{_role}: {_threshold} of {len(_keys)} keys, {len(_signers)} signatures ({_keys}, {_signers})"

        def _run_roles(
            site: Site,
            client: Client,
            given: tuple[str, str, int, str] = (_role, _keys, _threshold, _signers),
            status: int = _status,
        ) -> None:
            assert _sign_role(site, client, *given) == status
            assert (given[0] in client.versions()) is (status == 0)

        CASES[f"{_words}: {'refused' if _status else 'taken'}"] = _run_roles


for _kind in ("ed25519", "ecdsa", "rsa"):

    def _run_kind(site: Site, client: Client, kind: str = _kind) -> None:
        for role in TOP:
            site.add_key(role, getattr(CryptoSigner, f"generate_{kind}")())
            site.root.roles[role].threshold = 2
        site.publish("root")
        site.release("targets")
        assert (client.refresh(), client.versions()) == (0, dict.fromkeys(TOP, 2))

    CASES[f"keys: {_kind} beside the first one, both needed"] = _run_kind


@case("keys: a replaced key's metadata is refused")
def _(site: Site, client: Client) -> None:
    old = list(site.signers["timestamp"])
    site.replace_keys("timestamp")
    site.publish("root")
    site.signers["timestamp"] = old
    site.publish("timestamp")
    assert client.refresh() == 1


# -- going back, and mixing


@case("timestamp: lower version refused")
def _(site: Site, client: Client) -> None:
    site.publish("timestamp")
    assert client.refresh() == 0
    site.signed("timestamp").version = 1
    site.serve("timestamp")
    assert (client.refresh(), client.versions()["timestamp"]) == (1, 2)


@case("timestamp: same version with other content is not taken")
def _(site: Site, client: Client) -> None:
    assert client.refresh() == 0
    kept = (client.metadata / "timestamp.json").read_bytes()
    site.signed("timestamp").snapshot_meta.version = 100
    site.serve("timestamp")
    client.refresh()
    assert (client.metadata / "timestamp.json").read_bytes() == kept


for _has_hashes in (False, True):
    _with = "with hashes" if _has_hashes else "without hashes"

    @case(f"snapshot: lower version refused, {_with}")
    def _(site: Site, client: Client, has_hashes: bool = _has_hashes) -> None:
        site.has_hashes = has_hashes
        site.release()
        assert client.refresh() == 0
        site.signed("snapshot").version = 0
        site.release()
        assert (client.refresh(), client.versions()["snapshot"]) == (1, 2)

    @case(f"targets: lower version refused, {_with}")
    def _(site: Site, client: Client, has_hashes: bool = _has_hashes) -> None:
        site.has_hashes = has_hashes
        site.release("targets")
        assert client.refresh() == 0
        site.signed("targets").version = 0
        site.release("targets")
        assert (client.refresh(), client.versions()["targets"]) == (1, 2)

    @case(f"a new release is taken, {_with}")
    def _(site: Site, client: Client, has_hashes: bool = _has_hashes) -> None:
        assert client.refresh() == 0
        site.has_hashes = has_hashes
        site.release("targets")
        assert (client.refresh(), client.versions()) == (0, {"root": 1} | dict.fromkeys(TOP[1:], 2))


@case("snapshot: a file missing that was there before is refused")
def _(site: Site, client: Client) -> None:
    site.delegate("targets", DelegatedRole("extra", [], 1, False, paths=["*"]))
    site.release("extra", "targets")
    assert client.refresh() == 0
    del site.signed("snapshot").meta["extra.json"]
    site.publish("snapshot", "timestamp")
    assert (client.refresh(), client.versions()["snapshot"]) == (1, 2)


@case("snapshot: another version than the timestamp says")
def _(site: Site, client: Client) -> None:
    site.signed("snapshot").version = 5
    content = site.sign("snapshot")
    site.served["metadata/1.snapshot.json"] = content
    assert (client.refresh(), sorted(client.versions())) == (1, ["root", "timestamp"])


@case("targets: another version than the snapshot says")
def _(site: Site, client: Client) -> None:
    site.signed("targets").version = 5
    site.served["metadata/1.targets.json"] = site.sign("targets")
    assert (client.refresh(), "targets" in client.versions()) == (1, False)


@case("targets: another content than the snapshot's hash")
def _(site: Site, client: Client) -> None:
    site.has_hashes = True
    site.release("targets")
    site.signed("targets").unrecognized_fields["more"] = 1
    site.serve("targets")
    assert (client.refresh(), "targets" in client.versions()) == (1, False)


@case("snapshot: another content than the timestamp's hash")
def _(site: Site, client: Client) -> None:
    site.has_hashes = True
    site.release("targets")
    site.signed("snapshot").unrecognized_fields["more"] = 1
    site.serve("snapshot")
    assert (client.refresh(), "snapshot" in client.versions()) == (1, False)


@case("recovery: with a new key the timestamp may fall")
def _(site: Site, client: Client) -> None:
    site.signed("timestamp").version = 5000
    site.serve("timestamp")
    assert client.refresh() == 0
    site.replace_keys("timestamp")
    site.publish("root")
    site.signed("timestamp").version = 1
    site.serve("timestamp")
    assert (client.refresh(), client.versions()["timestamp"]) == (0, 1)


@case("recovery: with new keys of timestamp and snapshot, snapshot and targets may fall")
def _(site: Site, client: Client) -> None:
    for role in ("snapshot", "targets"):
        site.signed(role).version = 5000
    site.release("targets")
    assert (client.refresh(), client.versions()["targets"]) == (0, 5001)
    for role in ("snapshot", "timestamp"):
        site.replace_keys(role)
    site.publish("root")
    for role in ("snapshot", "targets"):
        site.signed(role).version = 0
    site.release("targets")
    assert client.refresh() == 0
    assert (client.versions()["snapshot"], client.versions()["targets"]) == (1, 1)


# -- time

for _role in ("timestamp", "snapshot", "targets"):

    @case(f"{_role}: expired is refused")
    def _(site: Site, client: Client, role: str = _role) -> None:
        assert client.refresh() == 0
        site.signed(role).expires = later(-1)
        site.release("targets")
        assert client.refresh() == 1
        assert client.versions().get("targets") == 1


@case("what is kept and has expired does not keep from what is new")
def _(site: Site, client: Client) -> None:
    site.signed("timestamp").expires = site.signed("snapshot").expires = later(2 / 86_400)
    site.release("targets")
    assert client.refresh() == 0
    time.sleep(2.1)
    assert client.refresh() == 1
    site.signed("timestamp").expires = site.signed("snapshot").expires = later(1)
    site.release("targets")
    assert (client.refresh(), client.versions()["targets"]) == (0, 3)
