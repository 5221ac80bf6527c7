"""Addresses of devices; the connection itself is tried on a real server in tests/integration/test_over_ssh.py."""

from __future__ import annotations

import pytest

from edgeapp.errors import RemoteError
from edgeapp.workshop.remote import Address, Remote, last_object, read_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://pi@10.0.0.7", Address("10.0.0.7", "pi")),
        ("pi@10.0.0.7", Address("10.0.0.7", "pi")),
        ("front-door", Address("front-door")),
        ("ssh://front-door.local:2222", Address("front-door.local", port=2222)),
        ("ssh://pi@[fe80::1]:22/", Address("fe80::1", "pi", 22)),
    ],
)
def test_an_address_is_read_and_said_again(text: str, address: Address) -> None:
    assert read_address(text) == address
    assert str(address).startswith("ssh://")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-oProxyCommand=sh",
        "pi@host/folder",
        "http://10.0.0.7",
        "ssh://",
        "ssh://pi:secret@host",
        "ssh://host/folder",
        "ssh://host:99999",
        "ssh://-oProxyCommand=sh",
        "ssh://-l@host",
    ],
)
def test_what_is_no_address_never_reaches_ssh(text: str) -> None:
    with pytest.raises(RemoteError, match=r"expected ssh://user@host"):
        read_address(text)


def test_a_missing_client_is_named_with_its_package() -> None:
    with pytest.raises(RemoteError, match="Debian: openssh-client"), Remote(Address("host"), ssh=("/no/ssh",)):
        pass


@pytest.mark.parametrize("printed", [b"", b"hello\n", b"[1]\n", b'{"a": 1}\nend'])
def test_what_is_no_object_is_told(printed: bytes) -> None:
    with pytest.raises(RemoteError, match="expected a JSON object"):
        last_object(printed, Address("host"))


def test_the_object_is_that_of_the_last_line() -> None:
    assert last_object(b'INFO: hello\n{"a": 1}\n', Address("host")) == {"a": 1}
