"""One day of what `scripts/week-drill` does for a week, and that its accounts find what is planted in them."""

from __future__ import annotations

import copy
from pathlib import Path

from tests.fakes.week.life import Life
from tests.fakes.week.planted import PLANTS
from tests.fakes.week.verdict import judge


def test_everything_of_a_day_in_fast_motion_is_accounted_for(tmp_path: Path) -> None:
    lived = Life(tmp_path, days=1, seed=3, speed=3000.0).live()
    verdict = judge(lived, tmp_path)
    assert {promise: against for promise, against in verdict.promises.items() if against} == {}
    assert verdict.result["power_cuts"] == 1
    assert verdict.result["updates"]["committed"] == 1
    assert verdict.result["windows"]["told"] > 150
    for name, plant in PLANTS.items():
        spoilt = copy.deepcopy(lived)
        plant(spoilt)
        found = judge(spoilt, tmp_path)
        assert not found.result["ok"], name
        reports, budget = found.result["reports"], found.result["budget"]
        caught = {
            "lost report": reports["missing"],
            "double release": budget["double_releases"],
            "overspent budget": budget["worst_epsilon"] > budget["limit"],
        }
        assert caught[name], (name, found.promises)
