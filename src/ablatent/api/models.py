"""`ablatent.load`: a finished model of a store."""

from pathlib import Path

from ablatent.core.errors import ConfigError
from ablatent.inference.pipeline import Pipeline


def load(model: str, store: str | Path = "store", *, size: int | None = None, device: str = "auto") -> Pipeline:
    """A finished model, to sample with it, and to encode and decode images.

    model: SWEEP:JOB (the id of a sweep, and the index or name of a job), the key of a diffusion or imported stage, or
    the id of a W&B run; the names that `do=sample model=…` takes. store: the folder of the store, of which nothing is
    changed. size: side in pixels of an imported model's images; None: as its file has it (that of a DiT does), else
    256. device: auto (a GPU where torch sees one), cpu or gpu. Sampler, guidance and batch size are those of the
    model's job. Raises ConfigError for a store, a model or a device that is not there.
    """
    if not isinstance(model, str):
        do = "ablatent.load('20260101-120000-ab12:0', store='store')"
        raise ConfigError("model", "the name of a model: SWEEP:JOB, the key of a stage, or a W&B run id", model, do)
    return Pipeline.load(model, store, size=size, device=device)
