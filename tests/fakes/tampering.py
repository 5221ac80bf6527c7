"""Tampering: each byte of what is signed is altered, and every time it has to be noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256

from edgeapp.updates import command as commands
from edgeapp.updates import metadata as trust
from edgeapp.updates.codes import UpdateError, hold
from edgeapp.updates.fetchers import CarriedFiles
from tests.fakes.attacks import ACCEPTED, ALL_REFUSED, Target, attack
from tests.fakes.releases import OPERATORS_PATH, ROLES

_BITS = (0x01, 0x20, 0x80)
_METADATA_BITS = (0x01, 0x80)  # 0x20 only changes the case of a hexadecimal digit, which means the same
_EVERYDAY_STRIDE = 61


def altered(content: bytes, stride: int, bits: tuple[int, ...]) -> Iterator[bytes]:
    """The content with one bit changed, for every `stride`-th byte."""
    for position in range(0, len(content), stride):
        for bit in bits:
            yield content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :]


def all_refused(tampered: Iterator[bytes], take: Callable[[bytes], None]) -> str:
    """Whether every one was refused, by an UpdateError and nothing else."""
    for content in tampered:
        try:
            take(content)
        except UpdateError:
            continue
        return f"taken: {content!r}"
    return ALL_REFUSED


@attack("tampering: every byte of a small command", ALL_REFUSED)
def _(target: Target) -> str:
    operators = commands.read_document(commands.Operators, target.repository.contents[OPERATORS_PATH], OPERATORS_PATH)

    def take(content: bytes) -> None:
        signed, _ = commands.read_message(content)
        hold(commands.judge(signed, target.facts, target.floors, target.clock))
        hold(commands.check_signatures(signed, operators))

    message = target.repository.message(files={})
    take(message)
    return all_refused(altered(message, 1, _BITS), take)


def tamper_metadata(role: str) -> Callable[[Target], str]:
    """Alter each byte of a role's newest metadata, for a device that has seen the version before."""

    def run(target: Target) -> str:
        repository = target.repository
        assert target.receive(repository.message(seq=1)) == ACCEPTED
        if role == "root":
            repository.rotate_root("root0", "root1")
        repository.publish()
        files, name = repository.files, repository.file_of(role)

        def take(content: bytes) -> None:
            fetcher = CarriedFiles({**files, name: content})
            trust.refresh(target.metadata_dir, target.trusted_root, fetcher, target.clock, target.floors)

        stride = 1 if target.is_thorough else _EVERYDAY_STRIDE
        result = all_refused(altered(files[name], stride, _METADATA_BITS), take)
        take(files[name])
        return result

    return run


for _role in ("root", *ROLES):
    attack(f"tampering: every byte of {_role}.json", ALL_REFUSED)(tamper_metadata(_role))


def tamper_content(content: bytes) -> str:
    vouched = trust.Target(sha256(content).hexdigest(), len(content), {})
    trust.check_content(content, vouched, "file")
    return all_refused(altered(content, 1, _BITS), lambda tampered: trust.check_content(tampered, vouched, "file"))


@attack("tampering: every byte of a manifest", ALL_REFUSED)
def _(target: Target) -> str:
    return tamper_content(target.repository.contents["releases/person/7.json"])


@attack("tampering: every byte of a blob", ALL_REFUSED)
def _(target: Target) -> str:
    return tamper_content(bytes(range(256)) * 16)
