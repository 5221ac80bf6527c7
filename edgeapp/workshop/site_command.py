"""`edgeapp-workshop site …`: the consents of sites, without which no device sends a picture anywhere."""

from __future__ import annotations

import argparse
import dataclasses
import json
from datetime import UTC, datetime, timedelta

from edgeapp.errors import ReleaseError
from edgeapp.escalation import consent
from edgeapp.escalation.consent import SiteConsent, in_words, read_consent
from edgeapp.workshop.dialogue import add_common_options, add_repository_option, confirm, say
from edgeapp.workshop.keys_command import Commands, say_staged
from edgeapp.workshop.releases import is_consent
from edgeapp.workshop.repository import Repository


def add_command(commands: Commands) -> None:
    """Add `site` to the commands."""
    site = commands.add_parser("site", help="which sites consent to escalation")
    actions = site.add_subparsers(dest="site_command", required=True, metavar="COMMAND")
    allow = actions.add_parser("allow", help="stage a site's consent, to be signed by the release signers")
    revoke = actions.add_parser("revoke", help="stage that a consent is taken back")
    shown = actions.add_parser("list", help="the consents as they are to be")
    for parser in (allow, revoke):
        parser.add_argument("--tenant", default="default", metavar="NAME", help="(%(default)s)")
    allow.add_argument(
        "--device", action="append", default=[], metavar="ID", help="for this device alone; repeatable; else for all"
    )
    revoke.add_argument("--device", metavar="ID", help="the consent of this device alone, not the tenant's")
    allow.add_argument("--purpose", required=True, metavar="TEXT", help="what the pictures are looked at for")
    allow.add_argument("--host", required=True, metavar="NAME", help="the endpoint's host, as in escalation.endpoint")
    allow.add_argument("--responsible", required=True, metavar="TEXT", help="who answers for it, with an address")
    allow.add_argument(
        "--retention-days", type=int, required=True, metavar="N", help="how long a picture is kept there"
    )
    allow.add_argument("--days", type=int, required=True, metavar="N", help="how long the consent holds")
    for parser, function in ((allow, _allow), (revoke, _revoke), (shown, _list)):
        add_repository_option(parser)
        add_common_options(parser, function)


def _allow(chosen: argparse.Namespace) -> int:
    repository, now = Repository(chosen.repository), datetime.now(UTC)
    wanted = {
        "v": 1,
        "tenant": chosen.tenant,
        "devices": chosen.device,
        "purpose": chosen.purpose,
        "retention_days": chosen.retention_days,
        "endpoint_host": chosen.host,
        "responsible": chosen.responsible,
        "begins": int(now.timestamp()),
        "expires": int((now + timedelta(days=chosen.days)).timestamp()),
    }
    own, all_of_it = consent.paths(chosen.tenant, chosen.device[0] if chosen.device else "")
    path = own if len(chosen.device) == 1 else all_of_it
    content = json.dumps(wanted, separators=(",", ":"), ensure_ascii=False).encode()
    allowed = read_consent(content, path)
    confirm(chosen, f"Let pictures of uncertain tracks leave {consent.covered(allowed)} {in_words(allowed)}?")
    repository.stage_document(path, content, now)
    return say_staged(chosen, repository, f"{path} allows it once it is signed and published")


def _revoke(chosen: argparse.Namespace) -> int:
    repository = Repository(chosen.repository)
    own, all_of_it = consent.paths(chosen.tenant, chosen.device or "")
    path, targets = own if chosen.device else all_of_it, repository.targets()
    if path not in targets.targets:
        raise ReleaseError(f"{path}: expected a consent of the repository, found none: site list")
    del targets.targets[path]
    repository.stage_targets(targets, datetime.now(UTC))
    return say_staged(chosen, repository, f"{path} is taken back once that is signed and published")


def _list(chosen: argparse.Namespace) -> int:
    repository = Repository(chosen.repository)
    found: dict[str, SiteConsent] = {
        path: read_consent(repository.target_path(path).read_bytes(), path)
        for path in sorted(filter(is_consent, repository.targets().targets))
    }
    lines = [f"{path}: {consent.covered(one)} {in_words(one)}" for path, one in found.items()]
    rows = [{"path": path, **dataclasses.asdict(one)} for path, one in found.items()]
    return say(chosen, {"consents": rows}, "\n".join(lines) or "no consents")
