"""Which models vision is to have, and the next step towards that, pure.

Owns control's picture of the models in the vision process and the rule that turns a wish into commands, one at a time:
whatever happened meanwhile (vision died, a model was refused, the wish changed), the next step follows from what is
there. Leaves to the installer what to wish for, and to the pipeline to talk with vision.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeapp.errors import ModelStateError
from edgeapp.types import Lineup, Situation
from edgeapp.vision import protocol


@dataclass(frozen=True, slots=True)
class _Loaded:
    model_number: int
    folder: str


class ModelPicture:
    """Control's picture of the models in vision. Belongs to one thread."""

    def __init__(self, wish: Lineup) -> None:
        self._wish = wish
        self._running: _Loaded | None = None
        self._other: _Loaded | None = None
        self._is_after_switch = False  # the other one ran before; else it stands by
        self._asked: protocol.ModelCommand | None = None  # not answered yet
        self._coming: str | None = None  # being loaded, or started with
        self._rounds = 0  # of starts when every model had been refused
        self._rejected: dict[str, tuple[str, str]] = {}

    @property
    def situation(self) -> Situation:
        """As far as vision has told."""
        return Situation(
            self._running.folder if self._running else None,
            self._other.folder if self._other else None,
            dict(self._rejected),
        )

    def want(self, wish: Lineup) -> None:
        """Change the wish. What is in it for the first time since is tried again."""
        self._wish = wish
        named = (*wish.order, wish.beside)
        self._rejected = {folder: why for folder, why in self._rejected.items() if folder in named}

    def first(self) -> str | None:
        """The folder to start vision with; None where no model may run. When all were refused, each in turn."""
        self._coming, order = self._wanted(), self._wish.order
        if self._coming is None and order:
            self._coming = order[self._rounds % len(order)]
            self._rounds += 1
        return self._coming

    def lost(self) -> None:
        """Vision ended, and its models with it."""
        self._running = self._other = self._asked = None
        self._is_after_switch = False

    def reject(self, code: str, text: str) -> None:
        """Vision refused the model that it was started with."""
        assert self._coming is not None, "a start has a folder"
        self._rejected[self._coming] = (code, text)

    def hear(self, message: protocol.Message) -> None:
        """Take what vision says about its models.

        Raises:
            ModelStateError: vision has other models than thought: start it anew.
        """
        match message:
            case protocol.Ready():
                self._running = _Loaded(message.model_number, self._known(self._coming))
                self._rejected.pop(self._running.folder, None)
            case protocol.CandidateReady():
                self._other = _Loaded(message.model_number, self._known(self._coming))
                self._is_after_switch = False
                if isinstance(self._asked, protocol.LoadCandidate):
                    self._asked = None
            case protocol.Switched():
                self._running, self._other = self._other, self._running
                self._is_after_switch, self._asked = not self._is_after_switch, None
            case protocol.Dropped():
                self._other = self._asked = None
                self._is_after_switch = False
            case protocol.CandidateFailed(code=ModelStateError.code):
                raise ModelStateError(message.text)
            case protocol.CandidateFailed():
                self._rejected[self._known(self._coming)] = (message.code, message.text)
                self._asked = None

    def next_command(self) -> protocol.ModelCommand | None:
        """The next step towards the wish; None where there is none, or the last one is not answered yet."""
        command = self._next()
        if command is not None:
            self._asked = command
        return command

    def _next(self) -> protocol.ModelCommand | None:
        wanted, running, other = self._wanted(), self._running, self._other
        if running is None or wanted is None:
            return None
        if self._asked is not None:
            is_vain = isinstance(self._asked, protocol.LoadCandidate) and self._coming not in (wanted, self._beside())
            return protocol.DropCandidate() if is_vain else None
        if other is None:
            missing = wanted if running.folder != wanted else self._beside()
            return None if missing is None or missing == running.folder else self._load(missing)
        if other.folder == wanted != running.folder:
            return protocol.Back() if self._is_after_switch else protocol.SwitchTo(model_number=other.model_number)
        if other.folder == self._beside() and running.folder == wanted:
            return None
        return protocol.Keep() if self._is_after_switch else protocol.DropCandidate()

    def _load(self, folder: str) -> protocol.LoadCandidate:
        self._coming = folder
        return protocol.LoadCandidate(model_dir=folder)

    def _wanted(self) -> str | None:
        return next((folder for folder in self._wish.order if folder not in self._rejected), None)

    def _beside(self) -> str | None:
        return self._wish.beside if self._wish.beside not in self._rejected else None

    @staticmethod
    def _known(folder: str | None) -> str:
        assert folder is not None, "vision speaks of a model that it was told to load"
        return folder
