from __future__ import annotations

import dataclasses
import json
import math
from fractions import Fraction
from pathlib import Path

import pytest

from edgeapp import cli
from edgeapp.config import CountingConfig, EscalationConfig, LineConfig, PrivacyConfig, SharesConfig, ZoneConfig
from edgeapp.telemetry.budget import DAY, LEVELS, plan
from edgeapp.telemetry.explain import EscalationTerms, as_object, text
from edgeapp.telemetry.noise import half_width, tail

COUNTING = CountingConfig(
    lines=(LineConfig(name="door", start=(0, 0.5), end=(1, 0.5)),),
    zones=(ZoneConfig(name="shelf", polygon=((0, 0), (1, 0), (1, 1))),),
)
ONLY_ENTERED = SharesConfig(entered=1, crossings=0, dwell=0, confidence=0)
EVERY_FAMILY = SharesConfig(presence=1)
CONFIG = """\
device: {id: door}
camera: {kind: v4l2, source: /dev/video0}
inference: {model_dir: MODEL}
mqtt: {host: broker}
"""


def said(privacy: PrivacyConfig, classes: tuple[str, ...] = ("person",)) -> str:
    return text(privacy, plan(privacy, COUNTING, classes))


def flat(privacy: PrivacyConfig) -> str:
    return " ".join(said(privacy).split())


def test_a_site_that_only_counts_entries_hears_the_sentence_of_the_design() -> None:
    expected = "A day count of 500 entries of one class will be reported within ±7, nineteen times of twenty."
    assert expected in flat(PrivacyConfig(shares=ONLY_ENTERED))


@pytest.mark.parametrize(
    "privacy",
    [
        PrivacyConfig(shares=EVERY_FAMILY, suppress_below=5),
        PrivacyConfig(guarantee="duration", shares=EVERY_FAMILY, segments=100, max_rows=1000, epsilon_per_day=0.01),
        PrivacyConfig(guarantee="none"),
    ],
)
def test_no_line_is_wider_than_a_terminal(privacy: PrivacyConfig) -> None:
    assert max(map(len, said(privacy, ("person",) * 100).splitlines())) <= 80


def test_the_table_has_one_row_for_each_release() -> None:
    privacy = PrivacyConfig(shares=EVERY_FAMILY)
    planned = plan(privacy, COUNTING, ("person",))
    rows = [line.split()[0] for line in said(privacy).splitlines() if "±" in line and "nineteen" not in line]
    assert rows == [each.family for level in LEVELS for each in planned.releases(level)]


@pytest.mark.parametrize("guarantee", ["track", "duration"])
def test_the_object_tells_the_exact_figures_of_each_release(guarantee: str) -> None:
    privacy = PrivacyConfig(guarantee=guarantee, shares=EVERY_FAMILY)  # type: ignore[arg-type]
    planned = plan(privacy, COUNTING, ("person", "dog"))
    told = json.loads(json.dumps(as_object(privacy, planned)))
    releases = [each for level in LEVELS for each in planned.releases(level)]
    assert math.fsum(row["epsilon"] for row in told["releases"]) == pytest.approx(1)
    for row, release in zip(told["releases"], releases, strict=True):
        assert (row["family"], row["cells"]) == (release.family, len(release.cells))
        assert row["scale"] == float(release.scale)
        assert tail(release.scale, row["within_95"]) <= 0.05 < tail(release.scale, row["within_95"] - 1)


def test_each_guarantee_is_named_with_its_parameters() -> None:
    def guarantee(privacy: PrivacyConfig) -> dict[str, object]:
        found: dict[str, object] = as_object(privacy, plan(privacy, COUNTING, ("person",)))["guarantee"]
        return found

    assert guarantee(PrivacyConfig()) == {"name": "track", "epsilon_per_day": 1.0, "suppress_below": 0}
    assert guarantee(PrivacyConfig(guarantee="duration", segments=2)) == {
        "name": "duration",
        "epsilon_per_day": 1.0,
        "suppress_below": 0,
        "event_s": 30,
        "segments": 2,
        "chunk_s": 30,
        "max_rows": 3,
    }
    assert guarantee(PrivacyConfig(guarantee="none")) == {"name": "none"}


def test_what_several_tracks_of_one_person_mean_is_said() -> None:
    assert "A person seen as m tracks" in flat(PrivacyConfig())
    assert "2 tracks 1 (x2.72), 5 tracks 2.5 (x12.2)" in flat(PrivacyConfig(epsilon_per_day=0.5))
    assert "m tracks" not in flat(PrivacyConfig(guarantee="duration"))


def test_an_event_is_described_by_its_parameters() -> None:
    privacy = PrivacyConfig(guarantee="duration", event_s=45, segments=2, chunk_s=60, max_rows=4)
    told = flat(privacy)
    assert "seen at most 2 times for at most 45 s" in told
    assert "every 60 s, at most 4 tracks" in told


def test_a_site_that_tells_nothing_of_people_hears_so() -> None:
    assert said(PrivacyConfig(guarantee="none")).startswith("Nothing is told of people")


ESCALATION = EscalationTerms(
    host="oracle.example.org", per_hour=20, per_day=200, max_side_px=256, margin_pct=50.0, blur_heads=(),
    corrects_counts=True,
)  # fmt: skip


def test_what_escalation_costs_is_said_in_plain_words() -> None:
    planned = plan(PrivacyConfig(), COUNTING, ("person",), EscalationConfig(enabled=True))
    told = " ".join(text(PrivacyConfig(), planned, ESCALATION).split())
    for part in ("pictures leave for oracle.example.org", "at most 20 an hour and 200 a day", "No noise hides"):
        assert part in told
    assert "crossings, presence and dwell are noised for two tracks" in told
    assert "blurred" not in told
    blurred = dataclasses.replace(ESCALATION, blur_heads=("person",), corrects_counts=False)
    told = " ".join(text(PrivacyConfig(), planned, blurred).split())
    assert "heads of person blurred" in told
    assert "dwell are noised for two" not in told
    assert max(map(len, text(PrivacyConfig(), planned, ESCALATION).splitlines())) <= 80
    found = as_object(PrivacyConfig(), planned, ESCALATION)
    assert found["escalation"]["per_day"] == 200
    assert {row["sensitivity"] for row in found["releases"] if row["family"] in ("crossings", "escalated")} == {2}
    assert "ESCALATION" not in said(PrivacyConfig())


def test_what_escalation_costs_the_other_numbers_is_said_with_both_figures() -> None:
    """Crossings: three ninths of the budget in place of three eighths, and for two tracks."""
    without = plan(PrivacyConfig(), COUNTING, ("person",))
    planned = plan(PrivacyConfig(), COUNTING, ("person",), EscalationConfig(enabled=True))
    terms = dataclasses.replace(ESCALATION, without=without)
    scales = {
        name: (one.scale, other.scale)
        for one, other in zip(planned.releases(DAY), without.releases(DAY), strict=False)
        if (name := one.family) == other.family
    }
    assert scales["crossings"][0] / scales["crossings"][1] == Fraction(9, 4)
    told = json.loads(json.dumps(as_object(PrivacyConfig(), planned, terms)))["escalation"]["cost"]
    rows = {row["family"]: row for row in told}
    for family, (dearer, cheaper) in scales.items():
        found = rows[family]["within_95"], rows[family]["within_95_without"]
        assert found == (half_width(dearer, 0.95), half_width(cheaper, 0.95))
        assert f"{family} ±{found[0]} (without it ±{found[1]})" in " ".join(
            text(PrivacyConfig(), planned, terms).split()
        )
    assert rows["escalated"]["within_95_without"] is None
    nothing_else = dataclasses.replace(ESCALATION, without=None)
    assert "without it" not in text(PrivacyConfig(), planned, nothing_else)


# --- the command


def write(folder: Path, more: str = "") -> str:
    path = folder / "config.yaml"
    path.write_text(CONFIG.replace("MODEL", str(folder / "model")) + more)
    return str(path)


def test_the_command_explains_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "tracking: {classes: [person]}\n")
    assert cli.main(["privacy", "explain", "--config", path]) == 0
    assert "nineteen times of twenty" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["privacy", "explain", "--config", path, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["family"]: row["epsilon"] for row in told["releases"] if row["level"] == "day"} == {
        "entered": 0.3,
        "confidence": 0.25,
    }


def test_the_command_takes_the_classes_of_the_model_where_none_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path)
    assert cli.main(["privacy", "explain", "--config", path]) == 1
    assert "name the classes in tracking.classes" in capsys.readouterr().err
    file = {"file": "m.tflite", "sha256": "0" * 64, "size_bytes": 1}
    manifest = {
        "name": "m",
        "version": 1,
        "model": file,
        "task": "detection",
        "classes": ["person", "dog", "cat"],
        "input": {"width": 8, "height": 8},
        "output": {"decoder": "ssd_raw", "tensors": {"boxes": "b", "scores": "s"}},
    }
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text(json.dumps(manifest))
    assert cli.main(["privacy", "explain", "--config", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["releases"][0]["cells"] == 3


def test_the_command_lists_the_mistakes_of_a_broken_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "privacy: {guarantee: trak}\n")
    assert cli.main(["privacy", "explain", "--config", path]) == 78
    assert "did you mean track?" in capsys.readouterr().err
