"""Runs the self-test of a model folder where it is started, and prints what came of it as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from edgeapp.vision.selftest import self_test

if __name__ == "__main__":
    report = self_test(Path(sys.argv[1]))
    print(json.dumps({name: asdict(report)[name] for name in ("code", "text", "has_network", "invokes")}))
