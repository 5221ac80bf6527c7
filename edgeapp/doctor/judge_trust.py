"""Judges what was signed for this device: the root of trust, the consent of its site. Pure."""

from __future__ import annotations

from edgeapp.doctor.report import Judgement


def trust(path: str, error: str, *, version: int = 0, keys: int = 0, threshold: int = 0) -> Judgement:
    """The first root of trust; `error` is empty where it is one, signed by its own keys."""
    if error:
        advice = "copy 1.root.json there as the keepers of the root keys handed it over; compare its sha256 with theirs"
        return Judgement("fail", f"{path}: {error}", advice)
    return Judgement("ok", f"{path}: root version {version}, to be signed with {threshold} of {keys} keys")


def consent(allowed: str, refused: str) -> Judgement:
    """Whether the site consents to escalation: what is allowed, or why nothing is; both empty where nobody knows."""
    if allowed:
        return Judgement("ok", f"pictures may leave {allowed}")
    if refused:
        advice = "edgeapp-workshop site allow, then release sign and release publish; or escalation.enabled: false"
        return Judgement("warn", f"no picture leaves: {refused}", advice)
    advice = "look after the clock and the link, and where updates come from: updates.folder, urls or the broker"
    return Judgement("warn", "no picture leaves: the consent could not be fetched", advice)
