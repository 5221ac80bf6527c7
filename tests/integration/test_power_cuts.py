"""Power cuts: a short run of what scripts/power-cuts does at length."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.power.broken_stores import BROKEN, SEEN_BY_KILLS
from tests.fakes.power.crash_states import try_states
from tests.fakes.power.lives import try_lives
from tests.fakes.power.mounting import why_not
from tests.fakes.power.real_cuts import try_cuts
from tests.fakes.power.story import Teller

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "power-cuts"


@pytest.fixture(scope="module")
def missing(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Why power cuts cannot be tried here; then it is shown that the script says so."""
    return why_not(tmp_path_factory.mktemp("missing"))


def run_script(*arguments: str, **environment: str) -> tuple[int, dict[str, object]]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--json"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def tell_briefly(teller: Teller) -> None:
    teller.start()
    teller.install(1)
    teller.install(2)
    teller.install(3)


def expect_that_the_script_says(missing: str) -> None:
    status, result = run_script("--cuts", "1", "--states", "1", "--kill-step", "100")
    assert status == 3
    assert missing in str(result["did_not_run"])
    assert (result["cuts"], result["states"]) == (0, 0)


@pytest.mark.parametrize("is_noisy", [False, True])
def test_no_state_that_a_power_cut_could_leave_loses_anything(tmp_path: Path, missing: str, is_noisy: bool) -> None:
    if missing:
        return expect_that_the_script_says(missing)
    verdict = try_states(tmp_path, Teller.tell, is_noisy=is_noisy, limit=80)
    assert verdict.wrong == []
    assert verdict.tried == 80
    return None


def test_lives_made_up_by_chance_lose_nothing_either(tmp_path: Path, missing: str) -> None:
    if missing:
        return expect_that_the_script_says(missing)
    told: list[int] = []
    verdict = try_lives(tmp_path, 121, told.append)  # the story gives 60 in each of its modes
    assert verdict.wrong == []
    assert (verdict.tried, told[-1]) == (121, 121)
    return None


def test_what_a_process_beside_this_one_finds_is_told_with_its_state(tmp_path: Path, missing: str) -> None:
    if missing:
        return expect_that_the_script_says(missing)
    with BROKEN["without fsync of the folder"]():
        verdict = try_lives(tmp_path, 200, lambda _: None)
    assert verdict.tried == 200
    assert re.fullmatch(r"(lost|bad): .* \(state \d+ of the story, (quiet|noisy)\)", verdict.wrong[0])
    return None


@pytest.mark.parametrize("name", BROKEN)
def test_a_store_with_a_classic_mistake_is_caught(tmp_path: Path, missing: str, name: str) -> None:
    if missing:
        return expect_that_the_script_says(missing)
    with BROKEN[name]():
        assert any(
            try_states(tmp_path, tell_briefly, is_noisy=is_noisy, limit=150, stop_at_first=True).wrong
            for is_noisy in (False, True)
        )
    return None


def test_real_power_cuts_lose_nothing(tmp_path: Path, missing: str) -> None:
    if missing:
        return expect_that_the_script_says(missing)
    verdict = try_cuts(tmp_path, 4)
    assert verdict.wrong == []
    assert verdict.tried == 4
    return None


def test_a_rig_that_is_not_asked_for_is_left_out_with_its_broken_stores(missing: str) -> None:
    if missing:
        return expect_that_the_script_says(missing)
    status, result = run_script("--cuts", "1", "--states", "0", "--kill-step", "0")
    assert status == 0
    assert (result["cuts"], result["states"], result["kills"], result["controls_caught"]) == (1, 0, 0, 1)
    return None


def test_the_script_says_what_did_not_run(tmp_path: Path) -> None:
    status, result = run_script("--cuts", "1", "--states", "1", "--kill-step", "100", PATH=str(tmp_path))
    assert status == 3
    assert (result["cuts"], result["states"], result["lost"], result["bad"]) == (0, 0, 0, 0)
    assert result["controls_caught"] == len(SEEN_BY_KILLS)
    assert [str(each).partition(":")[0] for each in result["did_not_run"]] == ["cuts", "states", "controls"]
    assert "mkfs.ext4 was not found" in str(result["did_not_run"])
