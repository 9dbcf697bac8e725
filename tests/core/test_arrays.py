"""Arrays that are mapped from files."""

import numpy as np
import pytest

from ablatent.core import arrays
from ablatent.core.arrays import large_zeros


@pytest.mark.parametrize(("limit", "mapped"), [(24, False), (23, True)])
def test_large_arrays_are_mapped_from_files_without_names(tmp_path, monkeypatch, limit, mapped):
    monkeypatch.setattr(arrays, "IN_MEMORY", limit)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = large_zeros(np.float32, (2, 3))
    assert isinstance(array, np.memmap) == mapped
    assert not list(tmp_path.iterdir())
    assert array.dtype == np.float32 and not array.any()
    array[1] = [1, 2, 3]
    assert array[[1, 0]].tolist() == [[1, 2, 3], [0, 0, 0]]
