"""`from ablatent import load`: a finished model from a store. Its modules are imported when it is called."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ablatent.inference.pipeline import Pipeline

    __version__: str


def load(store: str, model: str, size: int | None = None) -> "Pipeline":
    """The model of that name (SWEEP:JOB, the key of a stage, a W&B run id) in the store's folder; see its `sample`.

    size: side in pixels of an imported model's images, None for 256. Raises ConfigError where there is no such model.
    """
    from ablatent.inference.pipeline import Pipeline

    return Pipeline.load(store, model, size)


def __getattr__(name: str) -> str:
    """`__version__`, as pyproject.toml has it: of the installed package, looked up where it is read."""
    if name != "__version__":
        raise AttributeError(f"module 'ablatent' has no attribute {name!r}")
    from importlib.metadata import version

    return version("ablatent")
