"""Every command says in its own help what it does."""

from __future__ import annotations

import pytest

from edgeapp import cli
from edgeapp.workshop import cli as workshop_cli


@pytest.mark.parametrize(
    ("main", "words", "said"),
    [
        (cli.main, ("profile",), "Measure a model here until it has settled, and write a report."),
        (cli.main, ("report", "diff"), "What differs between two profiles, beyond their noise."),
        (workshop_cli.main, ("compare",), "0 nowhere, 1 it does, 2 unknown."),
        (workshop_cli.main, ("rollout", "start"), "Sign all commands of a plan, and drive it."),
    ],
)
def test_the_help_of_a_command_begins_with_what_it_does(
    main: object, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(main)
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    assert said in " ".join(capsys.readouterr().out.split())
