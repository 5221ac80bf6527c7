"""The real daemon with a clock that is known to be right, which looks for its consent every two seconds, and notes when
each frame was captured and observed.

python -m tests.fakes.measured_daemon run --config FILE
Lines "CAPTURED_NS OBSERVED_NS" (CLOCK_MONOTONIC) go to the file that EDGEAPP_TEST_FRAMES names, if it names one.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from unittest import mock

from edgeapp import cli, daemon
from edgeapp.escalation import client
from edgeapp.pipeline import Pipeline
from edgeapp.types import Prediction
from tests.fakes.synchronised_daemon import SynchronisedClock

CONFIRM_S = 2.0


def main() -> int:
    follow, path = Pipeline._follow, os.environ.get("EDGEAPP_TEST_FRAMES")
    frames = Path(path).open("a", buffering=1) if path else None  # noqa: SIM115  # it ends with the process

    def noting(pipeline: Pipeline, prediction: Prediction) -> None:
        follow(pipeline, prediction)
        if frames is not None and prediction.invoke_ms is not None:
            frames.write(f"{prediction.captured_ns} {time.monotonic_ns()}\n")

    with (
        mock.patch.object(daemon, "SystemClock", SynchronisedClock),
        mock.patch.multiple(client, _CONFIRM_S=CONFIRM_S, _CONFIRM_AGAIN_S=CONFIRM_S),
        mock.patch.object(Pipeline, "_follow", noting),
    ):
        return cli.main()


if __name__ == "__main__":
    sys.exit(main())
