"""The Python API: `load` a finished model, run a `sweep`, read its `results`. See docs/api.md.

`import ablatent` imports nothing else: each name is found when it is first used, and torch with those that need it.
Schedules, samplers and networks are used without any of this: `ablatent.schedules.cosine`, `ablatent.samplers.ddim`,
`ablatent.networks.unet` and their neighbours import torch alone.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablatent.api.models import load
    from ablatent.api.sweeps import SweepHandle, sweep
    from ablatent.api.tables import results
    from ablatent.core.errors import AblatentError
    from ablatent.inference.pipeline import Pipeline

    __version__: str

__all__ = ["AblatentError", "Pipeline", "SweepHandle", "load", "results", "sweep"]
_MODULES = {
    "AblatentError": "core.errors",
    "Pipeline": "inference.pipeline",
    "SweepHandle": "api.sweeps",
    "load": "api.models",
    "results": "api.tables",
    "sweep": "api.sweeps",
}


def __getattr__(name: str) -> Any:
    """A name of the API, from its module; `__version__`, that of the installed package."""
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _SweepRoom(ModuleType):
    """The room `ablatent.sweep`, which is called as the function of that name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return __getattr__("sweep")(*args, **kwargs)


class _Package(ModuleType):
    """This package. `sweep` is a function of the API and a room: who imports a module of the room makes Python put the
    room into the place of the function, and it then answers as the function does."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "sweep" and isinstance(value, ModuleType):
            value.__class__ = _SweepRoom
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
