"""Which models vision is to have, as the phase of an update asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from edgeapp.types import Lineup
from edgeapp.updates.codes import UpdateError
from edgeapp.updates.phases import Phase
from edgeapp.updates.recovery import Level
from edgeapp.updates.store import Store, StoredModel
from edgeapp.updates.tools import Desk


def wish(store: Store, committed: tuple[str, ...], desk: Desk) -> Lineup:
    """The wish to leave at the desk; `committed` are the folders to go on with.

    Raises:
        UpdateError: the candidate's folder cannot be made.
    """
    state = store.state
    if state.phase is Phase.STANDBY:
        return Lineup(committed, beside=str(store.folder(state.candidate)))
    if state.phase is Phase.TRIAL:
        candidate, running = str(store.folder(state.candidate)), desk.look().situation.running
        has_begun = running in (None, candidate)  # before a restart; then the first of the committed ran before
        return Lineup((candidate, *committed), beside=committed[0] if has_begun and committed else running)
    return Lineup(committed)


def committed_folders(store: Store) -> tuple[str, ...]:
    """The folders of the committed models that are whole, in the order to try them."""
    folders = []
    for release in (store.state.active, store.state.last_good, None):
        with suppress(UpdateError):
            folders.append(str(store.folder(release)))
    return tuple(dict.fromkeys(folders))


def folders_at_start(models: Sequence[StoredModel]) -> tuple[str, ...]:
    """Those of the committed models that the store found whole when it was started."""
    return tuple(dict.fromkeys(str(model.folder) for model in models if model.level is not Level.CANDIDATE))
