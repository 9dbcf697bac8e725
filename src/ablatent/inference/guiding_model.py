"""guidance.model: a stored model that guidance leads another one away from, and whether it fits that one.

Both are called with the same x_t, t and condition, so that latents, schedule and what their conditioners read are the
same. Networks, what they predict and how they were trained may differ. Free of torch where no such model is named.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ablatent.core.declared import declared
from ablatent.core.errors import ConfigError
from ablatent.stages.diffusion.kind import DiffusionKind
from ablatent.stages.latents.kind import LatentsKind
from ablatent.stages.options import needs_of
from ablatent.store.artifacts import Artifact, Store
from ablatent.store.identity import Key, canonical

KEY = "guidance.model"


class GuidedModel(NamedTuple):
    """A diffusion stage that is guided, built or planned: its key, options, inputs (role → key) and digests of data."""

    key: Key
    config: Mapping[str, Any]
    inputs: Mapping[str, Key]
    digests: Mapping[str, str | None]

    @staticmethod
    def of(trained: Artifact) -> "GuidedModel":
        """That of a built one."""
        manifest = trained.manifest
        return GuidedModel(trained.key, manifest.config, manifest.inputs, manifest.data)


def names_model(guidance: Mapping[str, Any]) -> bool:
    """Whether a guidance node names a model of the store."""
    return bool(declared(guidance, "uses_weak", False)) and guidance.get("model") is not None


def with_whole_key(guidance: Mapping[str, Any], store: Store) -> Mapping[str, Any]:
    """The guidance node with the whole key of the model that it names. Raises ConfigError for one that is not there."""
    return {**guidance, "model": _stored(guidance["model"], store).key} if names_model(guidance) else guidance


def check_guiding(store: Store, weak: Mapping[str, Any], guided: GuidedModel) -> None:
    """Raise ConfigError unless a stored model fits a guided one. weak: by the fields of `WeakModel`."""
    from ablatent.stages.context import weights_path
    from ablatent.stages.kept_weights import WeightsChoice, fit_of

    found = _stored(weak["model"], store)
    check_fits(GuidedModel.of(found), guided)
    choice = WeightsChoice(weak["weights"], weak["snapshot"], weak.get("ema_width"), "guidance")
    if choice.ema_width is None:
        weights_path(found.path, choice.weights, choice.snapshot, choice.key)
    else:
        fit_of(found.path, choice, choice.ema_width)


def check_fits(weak: GuidedModel, guided: GuidedModel) -> None:
    """Raise ConfigError unless two models can be called with the same x_t, t and condition, and are two."""
    if weak.key == guided.key:
        do = "An earlier snapshot of the same model is guidance.snapshot with guidance.model=null."
        raise ConfigError(KEY, "another model than the one that is sampled", weak.key, do)
    latents, other = (model.inputs[LatentsKind.name].short for model in (guided, weak))
    if guided.inputs[LatentsKind.name] != weak.inputs[LatentsKind.name]:
        do = "Train it with the same data, first_stage and latents."
        raise ConfigError(KEY, f"a model of the same latents, {latents}", f"{weak.key.short} of {other}", do)
    expected, got = (_named(model.config["schedule"]) for model in (guided, weak))
    if canonical(guided.config["schedule"]) != canonical(weak.config["schedule"]):
        do = "A time t must be the same noise level for both: train it with the same schedule."
        raise ConfigError(KEY, f"a model with the schedule {expected}", f"{weak.key.short} with {got}", do)
    expected, got = (_named(model.config["conditioner"]) for model in (guided, weak))
    if needs_of(weak.config["conditioner"]):
        do = "Train it with the same conditioner, whose width and dropout may differ, or with conditioner=none."
        if _reads(weak.config["conditioner"]) != _reads(guided.config["conditioner"]):
            raise ConfigError(KEY, f"a model with the condition {expected}", f"{weak.key.short} with {got}", do)
        if guided.digests.get("annotations") != weak.digests.get("annotations"):
            raise ConfigError(KEY, "a model of the same annotations", f"{weak.key.short}, trained with others")


def _stored(name: str, store: Store) -> Artifact:
    from ablatent.inference.import_weights import stored

    return stored(store, str(name), (DiffusionKind.name,), KEY)


def _reads(node: Mapping[str, Any]) -> Any:
    """A conditioner node without what may differ between two that read the same: its width and its dropout."""
    if "parts" in node:
        return {name: _reads(part) for name, part in node["parts"].items()}
    free = ("dropout", declared(node, "width_option", "width"))
    return canonical({name: value for name, value in node.items() if name not in free})


def _named(node: Mapping[str, Any]) -> str:
    """A node as messages show it: CLASS(option=value, …)."""
    options = canonical(node)
    name = options.pop("_target_")
    return f"{name}({', '.join(f'{k}={v}' for k, v in options.items() if not isinstance(v, Mapping))})"
