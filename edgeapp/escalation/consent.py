"""The consent of a site: what a signed policy must say before a pixel may leave a device; pure.

Owns the schema of the TUF targets `sites/TENANT/DEVICE.json` and `sites/TENANT.json`, and the judgement whether one
allows this device to ask this endpoint now. Whether it is genuine is `updates/metadata.py`'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit

from edgeapp.config import Name
from edgeapp.errors import ConsentError, EdgeAppError
from edgeapp.reader import Length, Pattern, Range, read_json

SITES = "sites/"
Line = Annotated[str, Pattern(r"[^\x00-\x1f\x7f]{1,300}", "1 to 300 characters on one line")]
Host = Annotated[str, Pattern(r"[a-z0-9](?:[a-z0-9.:-]{0,251}[a-z0-9])?", "a host name or address in small letters")]
UnixTime = Annotated[int, Range(0, 1 << 40, "Unix seconds")]


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteConsent:
    """Who allows what: crops of uncertain tracks of these devices may go to this host, for this purpose.

    No `devices` stands for all of the tenant's. `responsible` is who answers for it, as people can reach them;
    `retention_days` is how long the host may keep a crop, 0 for not at all.
    """

    v: Literal[1]
    tenant: Name
    devices: Annotated[tuple[Name, ...], Length(0, 1000, "device ids")] = ()
    purpose: Line
    retention_days: Annotated[int, Range(0, 3650, "days")]
    endpoint_host: Host
    responsible: Line
    begins: UnixTime
    expires: UnixTime


def paths(tenant: str, device: str) -> tuple[str, str]:
    """Where the consent of a device stands among the targets; its own outweighs that of the tenant."""
    return f"{SITES}{tenant}/{device}.json", f"{SITES}{tenant}.json"


def read_consent(content: bytes, path: str) -> SiteConsent:
    """The consent at `path`, whose content was verified.

    Raises:
        ConsentError: it is malformed, or stands under the path of another tenant or device.
    """
    try:
        consent = read_json(SiteConsent, content, path)
    except EdgeAppError as error:
        raise ConsentError(str(error)) from error
    own = (consent.devices[0],) if len(consent.devices) == 1 else ()
    allowed = {f"{SITES}{consent.tenant}.json", *(f"{SITES}{consent.tenant}/{device}.json" for device in own)}
    if path not in allowed:
        raise ConsentError(f"{path}: expected a consent of this path, found one of {' or '.join(sorted(allowed))}")
    if consent.expires <= consent.begins:
        raise ConsentError(f"{path}: expires: expected after begins ({consent.begins}), found {consent.expires}")
    return consent


def check_consent(consent: SiteConsent, *, tenant: str, device: str, endpoint: str, now_s: float) -> None:
    """Go on where the consent allows this device to send crops to this endpoint now.

    Raises:
        ConsentError: why it does not.
    """
    if consent.tenant != tenant or (consent.devices and device not in consent.devices):
        raise ConsentError(f"expected a consent for {tenant}/{device}, found one for other devices")
    host = urlsplit(endpoint).hostname or ""
    if consent.endpoint_host != host:
        raise ConsentError(f"expected a consent for the endpoint {host}, found one for {consent.endpoint_host}")
    if now_s < consent.begins:
        raise ConsentError(f"expected a consent that has begun, found one from {_day(consent.begins)} on")
    if now_s >= consent.expires:
        raise ConsentError(f"expected a consent that holds, found one that expired on {_day(consent.expires)}")


def covered(consent: SiteConsent) -> str:
    """Whose devices a consent is for."""
    return f"{', '.join(consent.devices) or 'every device'} of {consent.tenant}"


def in_words(consent: SiteConsent) -> str:
    """What is allowed, for a person."""
    kept = f"kept {consent.retention_days} days" if consent.retention_days else "not kept"
    return (
        f"until {_day(consent.expires)}, to {consent.endpoint_host}, {kept}, for: {consent.purpose}"
        f" (answers for it: {consent.responsible})"
    )


def _day(unix_s: int) -> str:
    return datetime.fromtimestamp(min(unix_s, 253_402_300_799), UTC).strftime("%Y-%m-%d %H:%M UTC")
