"""What the workstation does on a device over SSH, with OpenSSH's own client and server on loopback."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from edgeapp.errors import RemoteError
from edgeapp.measure.commands import read_progress
from edgeapp.workshop import cli
from edgeapp.workshop.remote import Address, Remote
from tests.fakes.broker import free_port
from tests.fakes.ssh_server import SshServer
from tests.fakes.tiny_models import make_model_folder
from tests.fakes.tiny_twins import make_float, make_int8, pictures

_LIMIT_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with SshServer(tmp_path_factory.mktemp("ssh") / "server") as started:
        yield started


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    for number, picture in enumerate(pictures(4, 3)):
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    return folder


def _program(server: SshServer, text: str) -> str:
    """Something else in edgeapp's place on the device."""
    path = server.folder / "bin" / "other"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_profile_of_a_device_comes_back_and_leaves_nothing_there(
    server: SshServer, tmp_path: Path, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = make_model_folder(tmp_path / "model"), tmp_path / "there.html"
    budget = tmp_path / "a budget.yaml"
    budget.write_text("rss_mb: 4000\n")
    options = ["--frames", str(frames), "--budget", str(budget), "--seconds", "1", "--threads", "1", "--json"]
    options += ["--ssh", shlex.join(server.ssh)]
    status = cli.main(["profile", str(model), "--over", str(server.address), "--out", str(out), *options])
    printed = json.loads(capsys.readouterr().out)
    assert status == 2  # in a second nothing settles
    assert printed["verdict"]["answer"] == "unknown"
    assert printed["profile"]["subject"]["frames"] == frames.name
    assert json.loads(out.with_suffix(".json").read_text()) == printed["profile"]
    assert printed["verdict"]["headline"] in out.read_text()
    assert "profile model --seconds 1 --out report.html --json --progress lines" in server.log.read_text()
    assert server.left() == []


def test_a_device_that_computes_alike_is_called_equal(
    server: SshServer, tmp_path: Path, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    float_model = make_float(tmp_path / "float")
    int8_model = make_int8(float_model, tmp_path / "int8", pictures(4, 1))
    arguments = ["--reference", str(float_model), "--edge", str(int8_model), "--pictures", str(frames)]
    arguments += ["--ssh", shlex.join(server.ssh)]
    out = tmp_path / "out.html"
    assert cli.main(["compare", *arguments, "--device", str(server.address), "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["comparison"]
    assert [(stage["name"], stage["where"]) for stage in found["stages"]] == [
        ("preprocessing", "here"),
        ("quantization", "here"),
        ("compilation", "here"),
        ("runtime", str(server.address)),
        ("compilation", str(server.address)),
    ]
    assert all(stage["layers"] for stage in found["stages"][1:])
    assert str(server.address) in found["shipped"]
    assert server.left() == []


def test_progress_comes_over_while_it_runs(server: SshServer, tmp_path: Path) -> None:
    model, lines = make_model_folder(tmp_path / "model"), []
    with Remote(server.address, ssh=server.ssh) as device:
        device.put({"model": model})
        options = ["--seconds", "1", "--threads", "1", "--json", "--progress", "lines", "--out", "r.html"]
        assert device.run(["profile", "model", *options], lines.append)[0] == 2
    told = [found for line in lines if (found := read_progress(line))]
    assert told[0][0].startswith("ways to run it")
    assert told[-1][0].startswith("sustained")
    assert all(0 <= share <= 1 for _, share, _ in told)


def test_a_wrong_host_key_is_refused_and_named(server: SshServer, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    ssh = [f"UserKnownHostsFile={empty}" if "UserKnownHostsFile" in word else word for word in server.ssh]
    with (
        pytest.raises(RemoteError, match=r"Host key verification failed.*compare its fingerprint"),
        Remote(server.address, ssh=ssh),
    ):
        pass


def test_an_unknown_key_of_ours_is_named(server: SshServer, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    ssh = [str(tmp_path / "key") if word.endswith("client") else word for word in server.ssh]
    with pytest.raises(RemoteError, match=r"Permission denied.*ssh-copy-id"), Remote(server.address, ssh=ssh):
        pass


def test_nobody_who_listens_is_named(server: SshServer) -> None:
    nobody = Address("127.0.0.1", server.address.user, free_port())
    with pytest.raises(RemoteError, match=r"Connection refused.*ssh\.service"), Remote(nobody, ssh=server.ssh):
        pass


def test_a_device_without_edgeapp_is_named(server: SshServer) -> None:
    with (
        pytest.raises(RemoteError, match="name its path with --program"),
        Remote(server.address, program="/opt/none/edgeapp", ssh=server.ssh),
    ):
        pass


def test_another_version_is_refused_before_anything_is_copied(server: SshServer) -> None:
    other = _program(server, "echo edgeapp 0.0.7")
    with (
        pytest.raises(RemoteError, match=r"as here, found 'edgeapp 0\.0\.7'"),
        Remote(server.address, program=other, ssh=server.ssh),
    ):
        pass
    assert server.left() == []


def test_what_the_device_says_of_a_failure_comes_over(
    server: SshServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model_folder(tmp_path / "model", nan_above=-1.0, dtype="float32")
    options = ["--ssh", shlex.join(server.ssh), "--seconds", "1", "--out", str(tmp_path / "report.html")]
    assert cli.main(["profile", str(model), "--over", str(server.address), *options]) == 2
    said = capsys.readouterr().err
    assert str(server.address) in said
    assert "finite" in said
    assert server.left() == []


def test_an_interrupted_command_ends_on_the_device_and_clears_up(server: SshServer) -> None:
    script = (
        "import sys; from edgeapp.workshop.remote import *\n"
        f"with Remote({server.address!r}, program={_program(server, _WAITS)!r}, ssh={server.ssh!r}) as device:\n"
        "    device.run(['wait'], lambda line: print(line, flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert len(server.left()) == 1
        process.send_signal(signal.SIGKILL)  # it has no chance to clear up
    deadline_s = time.monotonic() + _LIMIT_S
    while (server.left() or Path(f"/proc/{pid}").exists()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert server.left() == []
    assert not Path(f"/proc/{pid}").exists()


_WAITS = f"""case "$1" in --version) exec {sys.executable} -m edgeapp.cli --version;; esac
echo $$ >&2; exec sleep 300"""
