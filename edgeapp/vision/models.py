"""Which model runs, and which one is warm beside it: at most two at a time.

Owns the loading of a candidate, the switch between two frames, the way back, and the freeing of what is no longer
needed. The model that runs is changed by the inference thread alone, in `flip`, so that every frame is predicted by
exactly one model; the commands come from the talk thread; loading and freeing take a thread of their own, since
they may last. Guarantees: whatever becomes of a candidate or of a command that does not fit, the running model runs
on, and every command is answered.

Loading is not quite without a trace: `allocate_tensors` holds the interpreter lock, 4 ms for a small int8 detector,
40 ms for a float one of 12 MB.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeapp.errors import EdgeAppError, ModelStateError
from edgeapp.vision import protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgeapp.vision.comparison import Seen
    from edgeapp.vision.model import Model

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A warm model and the number that its predictions carry."""

    model_number: int
    model: Model


class Models:
    """The running model and, at times, one more: a candidate that stands by, or in a trial the one of before it."""

    def __init__(
        self, first: Model, *, load: Callable[[Path], Model], send: Callable[[protocol.Message], object]
    ) -> None:
        """`load` gives a warm model or raises an EdgeAppError; `send` must not block. Both are called in threads."""
        self._load, self._send = load, send
        self._releases = itertools.count(1)
        self._lock = threading.Lock()  # held for changes of state only, never while a model is loaded or freed
        self._active = Loaded(next(self._releases), first)
        self._other: Loaded | None = None
        self._loading: int | None = None  # the number of the model that is being loaded
        self._is_wanted = False  # what is being loaded
        self._is_trial = self._is_flip_due = False
        self._in_use = threading.Lock()  # held while the model that does not run is asked, so that nobody frees it then
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._load_and_free, name="models", daemon=True).start()

    @property
    def active(self) -> Loaded:
        """The model that runs."""
        return self._active

    @property
    def needed_size(self) -> tuple[int, int]:
        """Width and height of a picture that serves both models. The inference thread reads it."""
        specs = [one.model.manifest.input for one in (self._active, self._other) if one is not None]
        return max(spec.width for spec in specs), max(spec.height for spec in specs)

    def handle(self, command: protocol.ModelCommand) -> None:
        """Begin what control orders. The talk thread calls it."""
        try:
            match command:
                case protocol.LoadCandidate():
                    self._begin_loading(Path(command.model_dir))
                case protocol.SwitchTo():
                    self._order_switch(command.model_number)
                case protocol.Back():
                    self._order_back()
                case protocol.Keep():
                    self._free(is_trial=True)
                case protocol.DropCandidate():
                    self._free(is_trial=False)
        except ModelStateError as error:
            self._refuse(error)

    def flip(self, next_frame_id: int) -> bool:
        """Carry out a switch that is due, before the frame `next_frame_id` is predicted. True where it was.

        The inference thread calls it between two frames. A later `active` is the other model.
        """
        if not self._is_flip_due:
            return False
        with self._lock:
            assert self._other is not None, "a due switch has two models"
            self._active, self._other = self._other, self._active
            self._is_trial = not self._is_trial
            self._is_flip_due = False
            active = self._active
        self._send(
            protocol.Switched(model=active.model.report, model_number=active.model_number, frame_id=next_frame_id)
        )
        return True

    def second_opinion(self, picture: npt.NDArray[np.uint8]) -> Seen | None:
        """What the model that is warm beside the running one sees in a picture; None where there is none.

        The inference thread calls it between two frames.

        Raises:
            ModelError, CaptureError: as its `predict` does.
        """
        with self._in_use:
            other = self._other
            if other is None:
                return None
            detections, _ = other.model.predict(picture)
            return detections, other.model.manifest.classes

    def _begin_loading(self, folder: Path) -> None:
        with self._lock:
            if self._loading is not None or self._other is not None:
                raise ModelStateError(f"load {folder}: expected one model, found {self._situation()}")
            self._loading, self._is_wanted = next(self._releases), True
            model_number = self._loading
        self._work.put(lambda: self._load_candidate(folder, model_number))

    def _load_and_free(self) -> None:
        while True:
            self._work.get()()

    def _load_candidate(self, folder: Path, model_number: int) -> None:
        started = time.monotonic()
        try:
            candidate = Loaded(model_number, self._load(folder))
        except Exception as error:
            if not isinstance(error, EdgeAppError):
                _LOGGER.exception("the candidate %s fails unexpectedly", folder)
            with self._lock:
                self._loading = None
            self._refuse(error)
            return
        load_ms = (time.monotonic() - started) * 1e3
        with self._lock:
            self._loading, is_wanted = None, self._is_wanted
            self._other = candidate if is_wanted else None
        if is_wanted:
            self._send(
                protocol.CandidateReady(model=candidate.model.report, model_number=model_number, load_ms=load_ms)
            )
        else:
            self._close(candidate)

    def _order_switch(self, model_number: int) -> None:
        with self._lock:
            other = self._other
            if other is None or self._is_trial or self._is_flip_due or other.model_number != model_number:
                raise ModelStateError(f"switch: expected model {model_number} standing by, found {self._situation()}")
            self._is_flip_due = True

    def _order_back(self) -> None:
        with self._lock:
            if not self._is_trial or self._is_flip_due:
                raise ModelStateError(f"back: expected a trial, found {self._situation()}")
            self._is_flip_due = True

    def _free(self, *, is_trial: bool) -> None:
        """Free the model that does not run, or have it freed as soon as it is loaded."""
        with self._lock:
            if self._loading is not None and not is_trial:
                self._is_wanted = False
                return
            other = self._other
            if other is None or self._is_trial is not is_trial or self._is_flip_due:
                wanted = "keep: expected a trial" if is_trial else "drop: expected a candidate"
                raise ModelStateError(f"{wanted}, found {self._situation()}")
            self._other, self._is_trial = None, False
        self._work.put(lambda: self._close(other))

    def _close(self, loaded: Loaded) -> None:
        with self._in_use:
            loaded.model.close()
        self._send(protocol.Dropped(model_number=loaded.model_number))

    def _refuse(self, error: Exception) -> None:
        code = error.code if isinstance(error, EdgeAppError) else EdgeAppError.code
        self._send(protocol.CandidateFailed(code=code, text=str(error) or type(error).__name__))

    def _situation(self) -> str:
        running = f"model {self._active.model_number} running"
        if self._loading is not None:
            return f"{running} and another being loaded"
        if self._other is None:
            return f"{running} alone"
        if self._is_flip_due:
            return f"{running} and a switch to model {self._other.model_number} under way"
        place = "as the one before it" if self._is_trial else "standing by"
        return f"{running} and model {self._other.model_number} {place}"
