"""Silencing the libraries: nothing gets out meanwhile, everything does afterwards."""

from __future__ import annotations

import os
import sys
import warnings

import pytest

from edgeapp.workshop.quiet import libraries_silenced


def _make_noise(words: str) -> None:
    os.write(2, f"native {words}\n".encode())
    print(f"python {words}", file=sys.stderr)


def test_native_and_python_lines_are_dropped_meanwhile_and_heard_afterwards(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with libraries_silenced():
        _make_noise("inside")
        warnings.warn("inside", stacklevel=1)
    _make_noise("outside")
    assert capfd.readouterr().err == "native outside\npython outside\n"


def test_a_replaced_standard_error_is_silenced_too(capsys: pytest.CaptureFixture[str]) -> None:
    with libraries_silenced():
        print("python inside", file=sys.stderr)
    assert capsys.readouterr().err == ""


def test_standard_error_comes_back_when_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), libraries_silenced():
        raise ValueError("broken")
    _make_noise("afterwards")
    assert capfd.readouterr().err == "native afterwards\npython afterwards\n"
