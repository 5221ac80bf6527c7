"""`edgeapp aim` as the person on the ladder has it: a real browser, a real picture, beside a real service."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeapp import config_file
from edgeapp.workshop import demo_assets
from tests.fakes.aiming import Aiming
from tests.fakes.broker import free_port
from tests.fakes.chromium import Chromium
from tests.fakes.device import Device

SHIPPED = (Path(__file__).parents[2] / "config.yaml").read_text()
# Whether a place of the picture, in shares, is black in the page.
BLACK = """(() => {{ const canvas = document.querySelector('#picture');
return Math.max(...canvas.getContext('2d').getImageData(
{x} * canvas.width, {y} * canvas.height, 1, 1).data.slice(0, 3)) < 16; }})()"""


@pytest.fixture(scope="module")
def assets() -> demo_assets.DemoAssets:
    return demo_assets.prepare(demo_assets.default_cache())


@pytest.fixture
def config(assets: demo_assets.DemoAssets, tmp_path: Path) -> Path:
    """The shipped configuration with all its comments, and the demo's video and model."""
    text = SHIPPED
    for old, new in (
        ("kind: v4l2", "kind: video"),
        ("/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920-video-index0", str(assets.video)),
        ("/var/lib/edgeapp/models/person-detector", str(assets.int8_model_dir)),
        ("/var/lib/edgeapp", str(tmp_path / "state")),
        ("/run/edgeapp\n", f"{tmp_path / 'run'}\n"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device with a small model and a video; its service does not run yet."""
    made = Device(tmp_path / "device", port=free_port())
    made.write_config()
    yield made
    made.kill()


def comments(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith("#")]


def test_what_a_finger_draws_on_a_phone_is_in_the_configuration_and_every_comment_too(
    config: Path, tmp_path: Path
) -> None:
    before = config.read_text()
    with Aiming(config) as aiming, Chromium(tmp_path / "browser", width=390, height=844, is_phone=True) as page:
        page.open(aiming.url)
        page.write("#code", aiming.code.upper())
        page.tap("#open")
        page.wait("document.querySelector('#nothing').hidden")
        page.wait("document.querySelector('#percent').textContent.endsWith('%')")
        assert page.value("document.documentElement.scrollWidth") == 390, "nothing is wider than the phone"

        width, height = page.value(
            "[document.querySelector('#stage').clientWidth, document.querySelector('#stage').clientHeight]"
        )
        page.tap("#to-draw")
        page.tap("#add-line")
        page.write("#name", "Back Door")
        page.drag(page.middle("[data-handle='0'].touch"), (-0.1 * width, 0.2 * height))
        page.tap("#add-zone")
        page.drag(page.middle("[data-handle='2'].touch"), (0.2 * width, 0.1 * height))
        page.tap("#add-mask")
        page.tap("#save")
        saved = "document.querySelector('#saved').textContent"
        page.wait(f"{saved}.startsWith('Saved')")
        assert "(camera.masks, counting.lines, counting.zones)" in page.value(saved)
        page.wait(BLACK.format(x=0.2, y=0.2))
        assert page.complaints() == []

    text, found = config.read_text(), config_file.load(config)
    line = found.counting.lines[1]
    assert (line.name, line.end) == ("back-door", (0.84, 0.54))
    assert line.start == pytest.approx((0.14, 0.74), abs=0.01)
    zone = found.counting.zones[1]
    assert zone.name == "zone-1"
    assert zone.polygon[2] == pytest.approx((0.89, 0.94), abs=0.01)
    assert len(found.camera.masks) == 1
    assert comments(text) == comments(before)
    was = config_file.read(before.encode(), "before")
    assert found.counting.lines[0] == was.counting.lines[0]
    assert (found.device, found.mqtt, found.privacy, found.thermal) == (was.device, was.mqtt, was.privacy, was.thermal)


def test_with_a_mouse_a_line_is_moved_a_zone_deleted_and_done_ends_it(config: Path, tmp_path: Path) -> None:
    with Aiming(config) as aiming, Chromium(tmp_path / "browser", width=1280, height=800, is_phone=False) as page:
        page.open(aiming.url)
        page.write("#code", "wrong")
        page.tap("#open")
        page.wait("document.querySelector('#door-trouble').textContent === 'not the code; 4 attempts left'")
        page.write("#code", aiming.code)
        page.tap("#open")
        page.wait("document.querySelector('#nothing').hidden")
        page.tap("#to-draw")
        height = page.value("document.querySelector('#stage').clientHeight")
        page.drag(page.middle("polyline.grip"), (0.0, -0.25 * height))
        page.tap("#list .zone")
        page.tap("#delete")
        page.tap("#save")
        page.wait("document.querySelector('#saved').textContent.includes('Saved')")
        page.tap("#done")
        page.wait("!document.querySelector('#over').hidden")
        assert aiming.wait_end() == (0, "Aiming has ended: done.")
    found = config_file.load(config).counting
    assert found.zones == ()
    assert found.lines[0].start == pytest.approx((0.1, 0.35), abs=0.01)
    assert found.lines[0].end == pytest.approx((0.9, 0.35), abs=0.01)


def test_the_picture_is_the_one_that_the_service_would_see(config: Path, assets: demo_assets.DemoAssets) -> None:
    text = config.read_text().replace("masks: []", "masks: [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]")
    config.write_text(text.replace("rotate_deg: 0", "rotate_deg: 90"))
    with Aiming(config) as aiming:
        aiming.enter()
        facts, jpeg = aiming.wait_picture()
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    height, width = picture.shape[:2]
    assert facts["look"]["size"] == [width, height]
    assert height > width, "turned"
    assert picture[:, : width // 2 - 8].max() < 16, "masked"
    assert picture[:, width // 2 + 8 :].max() > 60
    assert facts["look"]["model"] == "pedestrian-ssdlite 1"
    assert facts["look"]["focus"] > 0


def test_five_wrong_codes_end_the_process(device: Device) -> None:
    with Aiming(device.config_path) as aiming:
        answers = [aiming.ask("POST", "/code", {"code": "aaaa-aaaa"})[0] for _ in range(5)]
        assert answers == [403, 403, 403, 403, 410]
        assert aiming.wait_end() == (0, "Aiming has ended: too many wrong codes.")
        with pytest.raises(ConnectionRefusedError):
            aiming.ask("GET", "/")


def test_ctrl_c_ends_it_with_both_processes(device: Device) -> None:
    with Aiming(device.config_path) as aiming:
        aiming.enter()
        aiming.wait_picture()
        eyes = aiming.eyes()
        aiming.process.send_signal(signal.SIGINT)
        assert aiming.wait_end() == (0, "Aiming has ended: interrupted.")
        assert not Path(f"/proc/{eyes}").exists()


def test_it_stays_away_from_a_live_service_unless_asked_and_yields_to_one_that_starts(device: Device) -> None:
    with Aiming(device.config_path) as aiming:
        device.start()
        device.wait_inferring()
        assert aiming.wait_end() == (0, "Aiming has ended: the service was started.")
    refused = device.command("aim", "--config", str(device.config_path), "--address", "127.0.0.1")
    assert refused.returncode == 1
    assert refused.stderr.startswith("E_AIM: the service is live")
    with Aiming(device.config_path, "--while-running") as aiming:
        aiming.enter()
        facts, _ = aiming.wait_picture()
        facts, _ = aiming.wait_picture(facts["number"] + 5)
        assert facts["is_service_live"]
        device.wait_inferring()


def test_who_sees_has_no_network_and_nobody_has_a_file_to_write(device: Device) -> None:
    with Aiming(device.config_path) as aiming:
        aiming.enter()
        aiming.wait_picture()
        eyes = aiming.eyes()
        for pid in (eyes, aiming.process.pid):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile: the video begins anew, say
                    is_file = stat.S_ISREG(descriptor.stat().st_mode)
                    flags = int((Path(f"/proc/{pid}/fdinfo") / descriptor.name).read_text().split()[3], 8)
                    assert not is_file or flags & os.O_ACCMODE == os.O_RDONLY, descriptor.readlink()
        # Either it may make no socket, or it is in a network of its own with nothing in it.
        if _filters(eyes) == _filters(os.getpid()):
            interfaces = Path(f"/proc/{eyes}/net/dev").read_text().splitlines()[2:]
            assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]


def _filters(pid: int) -> int:
    """How many filters of system calls bind the process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["Seccomp_filters"])


@pytest.mark.parametrize("trouble", [signal.SIGSEGV, signal.SIGSTOP])
def test_eyes_that_die_or_hang_are_started_again(device: Device, trouble: signal.Signals) -> None:
    device.config["vision"] = {"start_limit_s": 5.0, "invoke_limit_s": 2.0}
    device.write_config()
    with Aiming(device.config_path) as aiming:
        aiming.enter()
        facts, _ = aiming.wait_picture()
        eyes = aiming.eyes()
        os.kill(eyes, trouble)
        facts, _ = aiming.wait_picture(facts["number"] + 10)
        assert facts["look"]["camera"] == "running"
        assert aiming.eyes() != eyes


def test_without_a_model_and_without_a_camera_the_page_says_so(device: Device) -> None:
    device.config["inference"]["model_dir"] = str(device.folder / "none")
    device.config["camera"]["source"] = str(device.folder / "none.avi")
    device.write_config()
    with Aiming(device.config_path) as aiming:
        aiming.enter()
        facts, number = aiming.look()[0], 0
        while not facts["look"]["error"]:
            facts, _ = aiming.look(number)
            number = facts["number"]
    assert "E_CAMERA" in facts["look"]["error"]
    assert "none.avi" in facts["look"]["error"]
    assert "E_MANIFEST" in facts["look"]["model_error"]
