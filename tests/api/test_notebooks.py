"""The notebooks run from top to bottom, in smallest jobs, and are kept with the outputs of larger ones."""

import json
import os
from pathlib import Path

import pytest

from commands import ROOT, SMALL

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERS = """
import ablatent

store, sweep = "store", {sweep!r}
x, hue, score = "sampler.steps", "status", "kid_192"
overrides = {overrides}
"""


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, page, monkeypatch) -> None:
    """Its first code cell, which is tagged `parameters`, is replaced by smaller jobs, of which most is in the store."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    cells = nbformat.read(notebook, as_version=4)
    (parameters,) = (cell for cell in cells.cells if "parameters" in cell.metadata.get("tags", []))
    axes = ["sampler.steps=2,5"] if "sampler.steps=" in parameters.source else []
    parameters.source = PARAMETERS.format(sweep=page[1]["running"].id, overrides=[*axes, "conditioner=class", *SMALL])
    NotebookClient(cells, timeout=600, resources={"metadata": {"path": str(page[0])}}).execute()
    outputs = [output for cell in cells.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs), outputs


def test_the_notebooks_are_kept_with_small_outputs() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"method", "new_sampler", "store_to_figure"}
    for path in NOTEBOOKS:
        text, figures = path.read_text(), 0
        for cell in json.loads(text)["cells"]:
            ran = cell["cell_type"] != "code" or cell["execution_count"] is not None
            assert ran, f"{path.name}: a cell was not executed: {''.join(cell['source'])[:80]}"
            for output in cell.get("outputs", ()):
                assert output["output_type"] != "error" and output.get("name") != "stderr", path.name
                picture = output.get("data", {}).get("image/png", "")
                assert len(picture) < 100 * 1024 * 4 / 3, f"{path.name}: a figure of more than 100 kB"
                figures += bool(picture)
        assert figures and len(text) < 400_000 and "/tmp/" not in text and "/home/" not in text, path.name
