"""The list of long tests in conftest.py names tests that are there."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_long_tests_are_there(request: pytest.FixtureRequest) -> None:
    conftest = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    for unit in conftest.LONG:
        file, _, name = unit.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).exists(), unit
