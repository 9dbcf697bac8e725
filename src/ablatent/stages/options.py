"""The declarations of a job's options, as planning reads them: without torch, for classes of users too."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ablatent.core.declared import declared
from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.core.options import options_of
from ablatent.core.targets import TARGET
from ablatent.core.values import get
from ablatent.data.annotation_kinds import BUILT_IN, IMAGES, annotation_kind
from ablatent.data.base import ImageData

Config = Mapping[str, Any]


def conditioner_parts(node: Config) -> Iterator[Config]:
    """The nodes of a conditioner that are no combination of others: those of its parts, or the node itself."""
    if "parts" in node:
        for part in node["parts"].values():
            yield from conditioner_parts(part)
    else:
        yield node


def needs_of(node: Config) -> set[str]:
    """The names of annotations (and "pixels") that a conditioner node reads, also through its parts."""
    return {need for part in conditioner_parts(node) for need in declared(part, "needs")}


def reads_annotations(node: Config) -> bool:
    """Whether a conditioner node reads more than the images themselves."""
    return bool(needs_of(node) - {IMAGES.name})


def takes_classes_in_turn(node: Config) -> bool:
    """Whether samples of a conditioner node need no validation images: it reads nothing, or labels alone."""
    return "parts" not in node and needs_of(node) <= {"labels"}


def guides(config: Config) -> bool:
    """Whether the job's guidance has an effect: at its neutral scale it has none."""
    node = config["guidance"]
    neutral = declared(node, "neutral_scale")
    return declared(node, "guides") and (neutral is None or node.get("scale") != neutral)


def guidance_declares(config: Config, name: str) -> Any:
    """The declaration `name` of the job's guidance; the empty value of its type where guidance has no effect."""
    value = declared(config["guidance"], name)
    return value if guides(config) else type(value)()


def requested_of(config: Config) -> set[str]:
    """The names of all parts of a source that the job's samples are conditioned on, by conditioner or guidance."""
    return needs_of(config["conditioner"]) | set(guidance_declares(config, "reads"))


def task_declares(config: Config, name: str) -> Any:
    """The declaration `name` of the job's task, see `tasks.base.Task`."""
    return declared(config["task"], name)


def extractor_needs(config: Config) -> tuple[str, ...]:
    """The kinds of stages that the extractor of the job's evaluation reads."""
    node = get(config, "evaluation.extractor")
    return () if node is None else tuple(declared(node, "needs_stages"))


def judged(config: Config) -> bool:
    """Whether the job has a judge."""
    return config["judge"]["verdict"] is not None


def gives_features(config: Config) -> bool:
    """Whether the job's judge is what its evaluation takes features from."""
    return "judge" in extractor_needs(config)


def looks_at_samples(config: Config) -> bool:
    """Whether the conditions of the job's samples have something that its judge can look for."""
    looked_for = set(declared(config["judge"]["verdict"], "condition_parts"))
    return config["samples"]["prompts"] is None and bool(requested_of(config) & looked_for)


def conditioned(config: Config) -> bool:
    """Whether the job's model has a condition."""
    return bool(needs_of(config["conditioner"]))


def readers_of(config: Config, names: Iterable[str] | None = None) -> str:
    """The options of conditioner that read annotations of the job's data, as a text for messages.

    For example 'conditioner=class or conditioner=layout'; empty where the data has none. names: of the annotations;
    None: any.

    Raises ConfigError or DataError for data that is not there.
    """
    annotations = make(config["data"], ImageData).outline()
    there = [
        name
        for name in (*BUILT_IN, *annotations.extra)
        if (None if name == IMAGES.name else annotations.part(name)) is not None
    ]
    wanted = [name for name in there if names is None or name in names]
    return " or ".join(f"conditioner={option}" for option in map(_reader, wanted) if option)


def _reader(name: str) -> str | None:
    """An option of conditioner that reads annotations of that name."""
    reading = [option for option, node in options_of("conditioner") if TARGET in node and name in needs_of(node)]
    return annotation_kind(name).read_by or next(iter(reading), None)


def check_dropout(config: Config) -> None:
    """Raise ConfigError for a model that is trained without dropping its condition, or any part of it."""
    dropouts = dropouts_of("conditioner", config["conditioner"])
    if all(dropout in (0, None) for dropout in dropouts.values()):
        raise ConfigError(
            " or ".join(dropouts) or "conditioner",
            f"above 0 where guidance (scale {config['guidance'].get('scale')}) uses the null condition",
            0.0,
            "0.1 is common. Or choose guidance=none, auto or classifier, which need no null condition.",
        )


def dropouts_of(path: str, node: Config) -> dict[str, Any]:
    """Key → probability with which a conditioner node, or each of its parts, is dropped in training."""
    own = {f"{path}.dropout": node["dropout"]} if "dropout" in node else {}
    parts = node.get("parts", {})
    return own | {k: v for name, part in parts.items() for k, v in dropouts_of(f"{path}.parts.{name}", part).items()}
