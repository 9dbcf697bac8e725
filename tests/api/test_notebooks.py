"""The notebook runs from top to bottom on the store of a small sweep, and ends with a figure."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "store_to_figure.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(swept, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    folder, _ = swept
    monkeypatch.setenv("ABLATENT_STORE", str(folder / "store"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300).execute()
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert any("image/png" in o.get("data", {}) for o in outputs)


def test_the_notebook_is_kept_without_outputs():
    assert '"output_type"' not in NOTEBOOK.read_text()
