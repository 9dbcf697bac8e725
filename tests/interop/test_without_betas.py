"""Flow matching and EDM have no betas, and other programs no name for what their models predict: refused both ways."""

from pathlib import Path

import pytest

from ablatent.core.errors import ConfigError, DataError
from ablatent.interop import compvis_config, diffusers
from ablatent.interop.published import Options


@pytest.mark.parametrize(
    "name", ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"]
)
def test_schedulers_without_betas_are_not_read_as_linear(name: str) -> None:
    with pytest.raises(DataError, match=f"expected a scheduler with betas.*{name}"):
        diffusers._scheduler({"_class_name": name}, {}, Options(), Path("scheduler_config.json"), [])


@pytest.mark.parametrize("parameterization", ["flow", "preconditioned"])
def test_the_reference_has_no_such_parameterization(parameterization: str) -> None:
    with pytest.raises(ConfigError) as error:
        compvis_config.model_config({}, None, {"parameterization": parameterization})
    assert error.value.key == "parameterization" and "eps, x0, v" in str(error.value)
