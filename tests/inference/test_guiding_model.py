"""Which stored models may guide another one."""

from typing import Any

import pytest

from ablatent.core.errors import ConfigError
from ablatent.inference.guiding_model import GuidedModel, check_fits, names_model
from ablatent.store.identity import Key

SCHEDULE = {"_target_": "ablatent.schedules.cosine.Cosine", "T": 1000, "s": 0.008}
CLASSES = {
    "_target_": "ablatent.conditioning.class_label.ClassLabel", "dim": 64, "inject": "tokens", "dropout": 0.1,
}  # fmt: skip
SEVERAL = {"_target_": "ablatent.conditioning.several.Several"}
NONE = {"_target_": "ablatent.conditioning.none.NoConditioner"}


def model(key: str = "00", latents: str = "aa", annotations: str | None = "n", **config: Any) -> GuidedModel:
    options = {"schedule": SCHEDULE, "conditioner": CLASSES, "parameterization": "v", **config}
    return GuidedModel(
        Key(f"diffusion-{key}"), options, {"latents": Key(f"latents-{latents}")}, {"annotations": annotations}
    )


@pytest.mark.parametrize(
    "weak",
    [
        model("01"),
        model("01", network={"ch": 8}, parameterization="eps", learned_variance=True),
        model("01", conditioner=CLASSES | {"dim": 16, "dropout": 0.0}),
        model("01", conditioner=NONE, annotations=None),
        model("01", conditioner=SEVERAL | {"parts": {"a": CLASSES | {"dim": 8}}}),
    ],
)
def test_models_that_fit(weak: GuidedModel) -> None:
    parts = "parts" in weak.config["conditioner"]
    check_fits(weak, model(conditioner=SEVERAL | {"parts": {"a": CLASSES}}) if parts else model())


@pytest.mark.parametrize(
    ("weak", "words"),
    [
        (model(), "another model than the one that is sampled"),
        (model("01", latents="bb"), "a model of the same latents, latents-aa; got 'diffusion-01 of latents-bb'"),
        (model("01", schedule=SCHEDULE | {"s": 0.01}), "s=0.008); got 'diffusion-01 with Cosine(T=1000, s=0.01)'"),
        (model("01", conditioner=CLASSES | {"inject": "vector"}), "a model with the condition ClassLabel("),
        (model("01", conditioner=SEVERAL | {"parts": {"a": CLASSES}}), "a model with the condition ClassLabel("),
        (model("01", annotations="m"), "a model of the same annotations"),
    ],
)
def test_models_that_do_not_fit(weak: GuidedModel, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_fits(weak, model())
    assert error.value.key == "guidance.model" and words in str(error.value)


def test_which_guidance_names_a_model() -> None:
    auto = {"_target_": "ablatent.samplers.guidance_auto.AutoGuidance", "scale": 2.0}
    assert names_model(auto | {"model": "diffusion-01"})
    assert not names_model(auto | {"model": None}) and not names_model(auto)
    assert not names_model({"_target_": "ablatent.samplers.guidance.NoGuidance", "model": "diffusion-01"})
