"""Attacks on commands: on who signed them, on when they are sent, and on their form."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable

from tests.fakes.attacks import ACCEPTED, DAY_S, Target, attack
from tests.fakes.releases import NOW_S, operator, pack, seal


def two_of(target: Target) -> None:
    """Two operators, both needed."""
    target.repository.set_operators(operator("anna", "install"), operator("bea", "install"), threshold=2)


@attack("packed: what becomes 60 MB", "E_TOO_BIG")
def _(target: Target) -> bytes:
    packer = zlib.compressobj(9)
    chunk = b" " * (1 << 20)
    return b"".join(packer.compress(chunk) for _ in range(60)) + packer.flush()


@attack("packed: cut", "E_PARSE")
def _(target: Target) -> bytes:
    return zlib.compress(target.repository.message())[:-1]


@attack("packed: with something behind it", "E_PARSE")
def _(target: Target) -> bytes:
    return zlib.compress(target.repository.message()) + b"x"


@attack("packed twice", "E_PARSE")
def _(target: Target) -> bytes:
    return zlib.compress(zlib.compress(target.repository.message()))


@attack("packed, by a stranger", "E_SIG")
def _(target: Target) -> bytes:
    return zlib.compress(target.repository.message("stranger"))


@attack("unsigned", "E_SIG")
def _(target: Target) -> bytes:
    return pack(seal(target.repository.command()), target.repository.files)


@attack("signed by a stranger", "E_SIG")
def _(target: Target) -> bytes:
    return target.repository.message("stranger")


@attack("roles crossed: a release signer's key on a command", "E_SIG")
def _(target: Target) -> bytes:
    return target.repository.message("targets0", "targets1")


@attack("roles crossed: the online key on a command", "E_SIG")
def _(target: Target) -> bytes:
    return target.repository.message("online")


@attack("signed by one of two", "E_THRESHOLD")
def _(target: Target) -> bytes:
    two_of(target)
    return target.repository.message("anna")


@attack("the same signature twice", "E_THRESHOLD")
def _(target: Target) -> bytes:
    two_of(target)
    envelope = seal(target.repository.command(), "anna")
    envelope["signatures"] *= 2
    return pack(envelope, target.repository.files)


@attack("the same signature under another's name", "E_THRESHOLD")
def _(target: Target) -> bytes:
    two_of(target)
    envelope = seal(target.repository.command(), "anna")
    relabelled = {**envelope["signatures"][0], "keyid": operator("bea", "install")["keyid"]}
    envelope["signatures"].append(relabelled)
    return pack(envelope, target.repository.files)


@attack("one key listed under two names", "E_THRESHOLD")
def _(target: Target) -> bytes:
    anna = operator("anna", "install")
    target.repository.set_operators(anna, {**anna, "name": "anna-too", "keyid": "alias"}, threshold=2)
    envelope = seal(target.repository.command(), "anna")
    envelope["signatures"].append({**envelope["signatures"][0], "keyid": "alias"})
    return pack(envelope, target.repository.files)


@attack("an operation that the operator may not order", "E_OP_NOT_ALLOWED")
def _(target: Target) -> bytes:
    target.repository.set_operators(operator("anna", "cancel", "status"))
    return target.repository.message()


@attack("a revoked operator", "E_SIG")
def _(target: Target) -> bytes:
    assert target.receive(target.repository.message(seq=1)) == ACCEPTED
    target.repository.set_operators(operator("bea", "install"))
    return target.repository.message("anna")


@attack("a revoked operator with the metadata of before", "E_MD_ROLLBACK")
def _(target: Target) -> bytes:
    stale = target.repository.files
    target.repository.set_operators(operator("bea", "install"))
    assert target.receive(target.repository.message("bea", seq=1)) == ACCEPTED
    return target.repository.message("anna", files=stale)


@attack("another payload type under a good signature", "E_PARSE")
def _(target: Target) -> bytes:
    envelope = {**seal(target.repository.command(), "anna"), "payloadType": "application/vnd.in-toto+json"}
    return pack(envelope, target.repository.files)


@attack("replay", "E_REPLAY")
def _(target: Target) -> bytes:
    message = target.repository.message()
    assert target.receive(message) == ACCEPTED
    return message


@attack("a lower seq", "E_REPLAY")
def _(target: Target) -> bytes:
    assert target.receive(target.repository.message(seq=10)) == ACCEPTED
    return target.repository.message(seq=9)


@attack("the same seq with other content", "E_REPLAY")
def _(target: Target) -> bytes:
    assert target.receive(target.repository.message(seq=10)) == ACCEPTED
    return target.repository.message(seq=10, reason="another")


@attack("a retained stale command", "E_EXPIRED")
def _(target: Target) -> bytes:
    message = target.repository.message()
    target.at(NOW_S + 7 * DAY_S)
    return message


@attack("10 000 commands", "10000 times E_REPLAY")
def _(target: Target) -> str:
    assert target.receive(target.repository.message()) == ACCEPTED
    message = target.repository.message(files={})
    codes = {target.receive(message) for _ in range(10_000)}
    return f"10000 times {', '.join(sorted(codes))}"


@attack("expired", "E_EXPIRED")
def _(target: Target) -> bytes:
    return target.repository.message(exp=int(NOW_S))


@attack("issued in the future", "E_NOT_YET")
def _(target: Target) -> bytes:
    return target.repository.message(iat=int(NOW_S) + 3000)


@attack("not to be followed yet", "E_NOT_YET")
def _(target: Target) -> bytes:
    return target.repository.message(not_before=int(NOW_S) + 1)


@attack("clock at 1970", "E_CLOCK")
def _(target: Target) -> bytes:
    assert target.receive(target.repository.message(seq=1)) == ACCEPTED
    target.at(0.0)
    return target.repository.message(iat=0)


@attack("clock not synchronised", "E_CLOCK")
def _(target: Target) -> bytes:
    target.at(NOW_S, is_synchronised=False)
    return target.repository.message()


@attack("clock at 2100", "E_MD_EXPIRED")
def _(target: Target) -> bytes:
    target.at(4_102_444_800.0)
    return target.repository.message(exp=1 << 40)


@attack("for another device", "E_AUDIENCE")
def _(target: Target) -> bytes:
    return target.repository.message(aud={"devices": ["yard-2"], "groups": ["lobby"]})


@attack("outside the cohort", "E_AUDIENCE")
def _(target: Target) -> bytes:
    return target.repository.message(aud={"all": True, "cohort": {"salt": "r7", "pct": 0}})


def with_payload(target: Target, payload: bytes) -> bytes:
    """A well-signed command of these bytes."""
    return pack(seal(payload, "anna"), target.repository.files)


def with_text(old: str, new: str) -> Callable[[Target], bytes]:
    """A well-signed command in whose JSON a part was replaced."""

    def run(target: Target) -> bytes:
        text = json.dumps(target.repository.command(), separators=(",", ":"))
        assert old in text
        return with_payload(target, text.replace(old, new, 1).encode())

    return run


for _name, _old, _new in (
    ("duplicate keys", '"op":"install"', '"op":"status","op":"install"'),
    ("NaN", '"seq":10', '"seq":NaN'),
    ("infinity", '"seq":10', '"seq":1e999'),
    ("a huge integer", '"seq":10', f'"seq":{"9" * 5000}'),
    ("a fraction for an integer", '"seq":10', '"seq":10.5'),
    ("a number in quotes", '"seq":10', '"seq":"10"'),
    ("an unknown key", '"op":"install"', '"op":"install","shell":"reboot"'),
    ("an unknown operation", '"op":"install"', '"op":"exec"'),
    ("an unknown version", '"v":1', '"v":2'),
    ("a release path with ..", "releases/person/7.json", "releases/../../7.json"),
    ("an absolute release path", "releases/person/7.json", "/etc/passwd"),
    ("a release path with an escape", "releases/person/7.json", "releases/%2e%2e/7.json"),
    ("deep JSON in a command", '"aud":{"all":true}', f'"aud":{"[" * 400}{"]" * 400}'),
):
    attack(_name, "E_PARSE")(with_text(_old, _new))


@attack("deep JSON as a message", "E_PARSE")
def _(target: Target) -> bytes:
    return b'{"command":' * 5000


@attack("no JSON", "E_PARSE")
def _(target: Target) -> bytes:
    return b"\xff\xfe\x00"


@attack("base64 with stray bits", "E_PARSE")
def _(target: Target) -> bytes:
    envelope = seal(target.repository.command(), "anna")
    text = envelope["signatures"][0]["sig"]
    stray = text[:-3] + chr(ord(text[-3]) + 1) + "=="
    assert base64.b64decode(stray) == base64.b64decode(text)
    envelope["signatures"][0]["sig"] = stray
    return pack(envelope, target.repository.files)


@attack("a message without end", "E_TOO_BIG")
def _(target: Target) -> bytes:
    return target.repository.message(files={**target.repository.files, "x": b" " * 70_000})
