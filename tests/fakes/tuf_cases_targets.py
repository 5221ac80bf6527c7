"""Cases of delegations, of files, and of a server in trouble."""

from __future__ import annotations

import itertools
from functools import partial
from hashlib import sha256

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Metadata, SuccinctRoles, Targets
from tuf.api.metadata import Delegations as DelegationSet

from tests.fakes.tuf_case import CASES, case
from tests.fakes.tuf_site import Client, Site, later

_FILE = b"content of a file"

# -- delegations


def _delegated(name: str, *paths: str, is_terminating: bool = False) -> DelegatedRole:
    return DelegatedRole(name, [], 1, is_terminating, paths=list(paths) or ["*"])


# who delegates to whom (with "!": and nobody after it is asked), and who is asked for a target that is nowhere
_GRAPHS = {
    "one": ("t>a", "a"),
    "in their order": ("t>b t>a", "ba"),
    "depth first": ("t>a t>b a>c c>d", "acdb"),
    "a terminating one ends it": ("t>a! t>b", "a"),
    "a terminating one ends it, but for its own": ("t>a! t>b a>c c>d", "acd"),
    "a terminating one below": ("t>a t>b a>c! a>d", "ac"),
    "in a circle": ("t>a a>b b>a", "ab"),
    "one that two delegate to is asked once": ("t>a t>b a>c b>c", "acb"),
    "to itself": ("t>a a>a", "a"),
}


def _run_graph(site: Site, client: Client, graph: str, visited: str) -> None:
    for edge in graph.split():
        parent, child = edge.rstrip("!").split(">")
        site.delegate({"t": "targets"}.get(parent, parent), _delegated(child, is_terminating=edge.endswith("!")))
    site.release(*(name for name in site.metadata if name not in ("root", "timestamp", "snapshot")))
    assert client.download("nowhere") == 1
    asked = [path.split(".")[1] for path in site.asked if path.startswith("metadata/")]
    assert "".join(name for name in asked if len(name) == 1) == visited


for _name, (_graph, _visited) in _GRAPHS.items():
    CASES[f"delegation: {_name}"] = partial(_run_graph, graph=_graph, visited=_visited)


@case("delegation: a target is found where the paths of the whole chain allow it, and only there")
def _(site: Site, client: Client) -> None:
    site.delegate("targets", _delegated("a", "*.md"), {"read.md": b"by a", "deep/read.md": b"no"})
    site.delegate("targets", _delegated("b", "r/*/*"), {"r/x/1": b"by b"})
    site.delegate("b", _delegated("c", "r/y/*.zip"), {"r/y/1.zip": b"by c", "r/z/1.zip": b"no"})
    site.release("a", "b", "c", "targets")
    found = {path: client.download(path) for path in ("read.md", "r/x/1", "r/y/1.zip", "r/z/1.zip", "deep/read.md")}
    assert found == {"read.md": 0, "r/x/1": 0, "r/y/1.zip": 0, "r/z/1.zip": 1, "deep/read.md": 1}
    assert client.got() == [b"by a", b"by b", b"by c"]


@case("delegation: by the hash of the path")
def _(site: Site, client: Client) -> None:
    digest = sha256(b"file").hexdigest()
    other = f"{(int(digest[0], 16) + 1) % 16:x}"
    for name, prefix in (("wrong", other), ("right", digest[:2])):
        role = DelegatedRole(name, [], 1, False, path_hash_prefixes=[prefix])
        site.delegate("targets", role, {"file": name.encode()})
    site.release("wrong", "right", "targets")
    assert (client.download("file"), client.got()) == (0, [b"right"])


@case("delegation: to many bins at once")
def _(site: Site, client: Client) -> None:
    signer = CryptoSigner.generate_ed25519()
    succinct = SuccinctRoles([], 1, 2, "bin")
    targets: Targets = site.signed("targets")
    targets.delegations = DelegationSet({}, succinct_roles=succinct)
    targets.add_key(signer.public_key)
    for name in succinct.get_roles():
        site.metadata[name] = Metadata(Targets(expires=later(1)))
        site.signers[name] = [signer]
    home = succinct.get_role_for_target("file")
    site.add_file(home, "file", _FILE)
    site.release(*succinct.get_roles(), "targets")
    assert (client.download("file"), client.got()) == (0, [_FILE])
    assert sum("bin-" in path for path in site.asked) == 1


@case("delegation: not signed by the role's key is refused")
def _(site: Site, client: Client) -> None:
    site.delegate("targets", _delegated("a"), {"file": _FILE})
    site.signers["a"] = [CryptoSigner.generate_ed25519()]
    site.release("a", "targets")
    assert (client.download("file"), client.got()) == (1, [])


@case("delegation: expired is refused")
def _(site: Site, client: Client) -> None:
    site.delegate("targets", _delegated("a"), {"file": _FILE})
    site.signed("a").expires = later(-1)
    site.release("a", "targets")
    assert (client.download("file"), client.got()) == (1, [])


for _odd in ("?", "#", "/a", "../a", "a b", "ä", "%41"):

    @case(f"delegation: a role by the name of {_odd!r}")
    def _(site: Site, client: Client, odd: str = _odd) -> None:
        site.delegate("targets", _delegated(odd), {"file": _FILE})
        site.release(odd, "targets")
        assert (client.download("file"), client.got()) == (0, [_FILE])
        assert site.path_of(odd) in site.asked
        assert len(list(client.metadata.glob("*.json"))) == 5


# -- files

for _path in ("file", "deep/er/file", "a b", "ä", "%20", "a+b;c=d,e", "../../outside"):

    @case(f"file: by the name of {_path!r}")
    def _(site: Site, client: Client, path: str = _path) -> None:
        target = site.add_file("targets", path, _FILE)
        site.release("targets")
        served = next(name for name in site.served if name.endswith(f"{target.hashes['sha256']}.{path.split('/')[-1]}"))
        escaped = served.replace(" ", "%20").replace("ä", "%C3%A4")
        site.served[escaped] = _FILE
        assert (client.download(path), client.got()) == (0, [_FILE])
        assert site.asked[-1] == escaped


@case("file: by the name of '..' has no place, and is not kept")
def _(site: Site, client: Client) -> None:
    site.add_file("targets", "..", _FILE)
    site.release("targets")
    assert (client.download(".."), client.got()) == (1, [])


for _what, _content in (
    ("altered", b"Content of a file"),
    ("longer", _FILE + b"."),
    ("shorter", _FILE[:-1]),
    ("empty", b""),
    ("much longer", _FILE * 5000),
):

    @case(f"file: {_what} than signed is not kept")
    def _(site: Site, client: Client, content: bytes = _content) -> None:
        site.add_file("targets", "file", _FILE)
        site.release("targets")
        site.serve_file("file", _FILE, content)
        assert (client.download("file"), client.got()) == (1, [])


@case("file: of two hashes one is wrong")
def _(site: Site, client: Client) -> None:
    target = site.add_file("targets", "file", _FILE)
    target.hashes["sha512"] = "0" * 128
    site.release("targets")
    assert (client.download("file"), client.got()) == (1, [])


@case("file: is not fetched again while it is the same, and replaced once it is not")
def _(site: Site, client: Client) -> None:
    for number in range(3):
        content = _FILE * (number + 1)
        site.add_file("targets", "file", content)
        site.release("targets")
        for _ in range(2):
            assert (client.download("file"), client.got()) == (0, [content])
        site.serve_file("file", content, b"something bad")
        assert (client.download("file"), client.got()) == (0, [content])
    assert sum(path.startswith("targets/") for path in site.asked) == 3


# -- a server in trouble

for _target, _status in itertools.product(("timestamp", "1.snapshot", "1.targets"), (404, 500)):

    @case(f"server: {_status} for {_target}")
    def _(site: Site, client: Client, target: str = _target, status: int = _status) -> None:
        site.fails[f"metadata/{target}.json"] = status
        assert client.refresh() == 1
        assert target.split(".")[-1] not in client.versions()
        site.fails.clear()
        assert client.refresh() == 0


@case("server: 500 for the next root is no end of the chain")
def _(site: Site, client: Client) -> None:
    site.fails["metadata/2.root.json"] = 500
    assert (client.refresh(), sorted(client.versions())) == (1, ["root"])


@case("server: 403 for the next root is the end of the chain")
def _(site: Site, client: Client) -> None:
    site.fails["metadata/2.root.json"] = 403
    assert client.refresh() == 0


@case("server: metadata that is none")
def _(site: Site, client: Client) -> None:
    for content in (b"", b"{}", b"[1, 2", b"\xff\xfe", b'{"signed": {"_type": "root"}, "signatures": []}'):
        site.served["metadata/timestamp.json"] = content
        assert (client.refresh(), sorted(client.versions())) == (1, ["root"])
