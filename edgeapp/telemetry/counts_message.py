"""The bytes of a report on people, pure: noised counts and the guarantee they come with, always of one size.

Owns the names and the order of every field; `docs/messages.md` and `edgeapp/schemas/` describe them for readers.
Guarantee: with one configuration and one model, every report of a level has the same fields and the same length,
whatever was counted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgeapp.config import PrivacyConfig
from edgeapp.document import compact_json
from edgeapp.telemetry.drift import Comparison, DriftReport
from edgeapp.telemetry.release import MAX_COUNT, NoisedFamily, Release
from edgeapp.types import CONFIDENCE, DWELL, ModelReport

COUNTS_VERSION = 1
_PSI_DIGITS = 4
_WIDEST_PSI = 99.9999
_WIDEST_DRIFT = DriftReport(*2 * (Comparison(_WIDEST_PSI, _WIDEST_PSI),))  # "false" is wider than "true"
_WIDEST_NUMBER = 9_999_999_999  # reports and seconds; a device has neither so many


def counts_message(
    release: Release,
    privacy: PrivacyConfig,
    *,
    device: str,
    boot: str,
    seq: int,
    lost: int,
    app_version: str,
    model: ModelReport,
    drift: DriftReport | None,
) -> bytes:
    """One report. (device, boot, seq) is its identity, as for `telemetry_message`.

    `drift` is judged from this release's noised counts; None where it has no histogram of confidences.
    """

    def fields(release: Release, seq: int, lost: int, drift: DriftReport | None) -> dict[str, Any]:
        start_s = release.index * release.level.seconds
        return {
            "v": COUNTS_VERSION,
            "device": device,
            "boot": boot,
            "seq": seq,
            "lost": lost,
            "app": app_version,
            "level": release.level.name,
            "win": {
                "index": release.index,
                "start": start_s,
                "end": start_s + release.level.seconds,
                "seconds": round(release.seconds),
            },
            "dp": _guarantee(release, privacy),
            "counts": {noised.plan.family: _nested(noised) for noised in release.families},
            "drift": None if drift is None else _drift(drift),
            "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        }

    widest_drift = None if drift is None else _WIDEST_DRIFT
    widest = compact_json(fields(_widest(release), _WIDEST_NUMBER, _WIDEST_NUMBER, widest_drift) | {"pad": ""})
    told = fields(release, seq, lost, drift)
    return compact_json(told | {"pad": " " * (len(widest) - len(compact_json(told | {"pad": ""})))})


def _guarantee(release: Release, privacy: PrivacyConfig) -> dict[str, Any]:
    plans = [noised.plan for noised in release.families]
    event = {
        "event_s": privacy.event_s,
        "segments": privacy.segments,
        "chunk_s": privacy.chunk_s,
        "max_rows": privacy.max_rows,
    }
    return {
        "guarantee": privacy.guarantee,
        "event": event if privacy.guarantee == "duration" else None,
        "epsilon_per_day": privacy.epsilon_per_day,
        "epsilon": float(sum(plan.epsilon for plan in plans)),
        "mechanism": "discrete-laplace",
        "suppress_below": privacy.suppress_below,
        "families": {
            plan.family: {"epsilon": float(plan.epsilon), "sensitivity": plan.sensitivity, "scale": float(plan.scale)}
            for plan in plans
        },
    }


def _drift(drift: DriftReport) -> dict[str, Any]:
    return {"shipped": _comparison(drift.shipped), "site": _comparison(drift.site), "drifting": drift.drifting}


def _comparison(comparison: Comparison | None) -> dict[str, float] | None:
    if comparison is None:
        return None
    return {"psi": _psi(comparison.psi), "threshold": _psi(comparison.threshold)}


def _psi(value: float) -> float:
    return round(min(value, _WIDEST_PSI), _PSI_DIGITS)


def _nested(noised: NoisedFamily) -> Any:
    """The cells as a tree of their words, such as line → class → direction; the bins of a histogram as a list."""
    tree: dict[str, Any] = {}
    for cell, count in zip(noised.plan.cells, noised.counts, strict=True):
        branch = tree
        for word in cell[:-1]:
            branch = branch.setdefault(word, {})
        branch[cell[-1]] = count
    if noised.plan.family == CONFIDENCE:
        return list(tree.values())
    if noised.plan.family == DWELL:
        return {zone: list(bins.values()) for zone, bins in tree.items()}
    return tree


def _widest(release: Release) -> Release:
    families = tuple(replace(noised, counts=(-MAX_COUNT,) * len(noised.counts)) for noised in release.families)
    return replace(release, seconds=_WIDEST_NUMBER, families=families)
