"""A store with a class-conditional model, made by the examples of docs/api.md."""

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from commands import ROOT, SMALL

PAGE = (ROOT / "docs" / "api.md").read_text()


@pytest.fixture(scope="session")
def page(first_stages, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """(folder, names) after the examples of docs/api.md ran there, one after the other, in smallest jobs.

    printed, of the names: what they printed.
    """
    pytest.importorskip("pandas")
    folder, names = tmp_path_factory.mktemp("page"), {"SMALL": SMALL}
    first_stages(folder)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    printed = io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        mock.patch.dict(os.environ, {"WANDB_MODE": "offline"}),
    ):
        for block in blocks:
            exec(compile(block.replace('"preset=tiny"', "*SMALL"), "docs/api.md", "exec"), names)
    return folder, {**names, "printed": printed.getvalue()}
