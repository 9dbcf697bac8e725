"""What the tests of samplers share: the options of conf/sampler, found by looking, as options under check.

A new sampler is one file and one YAML; it is in NAMES and CASES without a line here.
"""

from typing import Any

import pytest

from ablatent.checks.option import Option
from ablatent.samplers.base import Sampler
from options import names_of, option_of

NAMES = names_of("sampler")
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim_half": ("ddim", {"eta": 0.5}),
    "ddim_ancestral": ("ddim", {"eta": 1.0}),
    "ddpm_beta": ("ddpm", {"variance": "beta"}),
    "ddpm_learned": ("ddpm", {"variance": "learned"}),
    "deis_log_rho": ("deis", {"variable": "log_rho"}),
    "heun_churn": ("heun", {"s_churn": 10.0}),
}
CASES = [*NAMES, *VARIANTS]


def option(case: str) -> Option:
    """The option of a YAML, or a variant of one."""
    name, knobs = VARIANTS.get(case, (case, {}))
    return option_of("sampler", name).with_values(**knobs)


def make(case: str, steps: int = 5, **changes: Any) -> Sampler:
    """The sampler of a YAML (or a variant of one), as a job makes it, with this number of steps."""
    return option(case).make(Sampler, steps=steps, **changes)


every_sampler = pytest.mark.parametrize("name", NAMES)
every_case = pytest.mark.parametrize("case", CASES)
