"""The program as a fixture."""

from __future__ import annotations

import pytest

from molmo_cli.main import main


@pytest.fixture
def molmo(capsys):
    """Runs the program; returns exit status, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return (ended.value.code or 0, *capsys.readouterr())

    return run
