"""diffusion: latents → weights of the network and its conditioner, raw and EMA."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from torch import Tensor, nn

from ablatent.conditioning.base import Conditioner
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError, StageError
from ablatent.core.files import write_json
from ablatent.core.images import grid
from ablatent.core.instantiate import make
from ablatent.data.latents import Latents
from ablatent.data.tensors import to_images
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.loss import DiffusionLoss
from ablatent.diffusion.timesteps import TimestepSampler
from ablatent.diffusion.weighting import Weighting
from ablatent.interop.layout import beyond_shapes, on_meta
from ablatent.networks.encoder import EncoderAttention
from ablatent.samplers.ddim import DDIM
from ablatent.samplers.guidance import NoGuidance
from ablatent.stages.context import Context, weights_path
from ablatent.stages.models import load_first_stage, make_denoiser, setting_of, source_of
from ablatent.stages.train import optimizer_factory, seed_initial_weights, train
from ablatent.store.artifacts import Artifact
from ablatent.store.identity import Key
from ablatent.tasks.conditions import conditions, conditions_in_turn
from ablatent.tasks.generate import Draws, Guided, Model, generate
from ablatent.training.batches import Batch
from ablatent.training.diffusion import END, DiffusionTrainee, DiffusionTraining, LatentBatches, Panel
from ablatent.training.end_state import read_state

PANEL, PANEL_STEPS = 16, 10


def build(ctx: Context) -> None:
    """Write raw-STEP.safetensors and ema-STEP.safetensors at the snapshots, training.safetensors, curves.csv, panels/,
    summary.json."""
    config = ctx.config
    longer = None if config["init_from"] is None else ctx.store.open(Key(config["init_from"]))
    goes_on = longer is not None and longer.kind == ctx.stage.kind
    train_config = DiffusionTraining(**config["training"])
    seed = int(config["seed"])
    latents, images = Latents.load(ctx.input("latents").path), ctx.images()
    seed_initial_weights(seed)
    source = source_of(ctx, images)
    counts = {"classes": len(source.annotations.classes), "segments": len(source.annotations.segments)}
    first_stage = load_first_stage(ctx.input("first_stage"), ctx.device)
    setting = setting_of(first_stage, latents.normalizer, latents.shape, counts)
    denoiser, conditioner = make_denoiser(config, setting)
    if longer is not None and not goes_on:
        init_from(longer, denoiser.network, conditioner)
    fields = conditioner.rows(source)
    rows, shuffled = images.indices("train"), bool(config["shuffle_conditions"])
    batches = LatentBatches(latents, rows, fields, train_config.batch_size, seed, conditioner, shuffled)
    validation_rows = images.indices("validation")[: min(256, 4 * train_config.batch_size)]
    model = Model(
        first_stage=first_stage,
        normalizer=latents.normalizer,
        denoiser=denoiser,
        conditioner=conditioner,
        latent_shape=latents.shape,
        device=ctx.device,
    )
    validation = batches.validation(validation_rows, draws=2)
    trainee = make_trainee(config, train_config, denoiser, conditioner, validation, _panel(ctx, model, source))
    if longer is not None and goes_on:
        lengthen(trainee, longer)
    train(ctx, trainee, batches)
    if ctx.rank:
        return
    ctx.work.check()
    count = sum(p.numel() for p in denoiser.network.parameters())
    write_json(
        ctx.work.files / "summary.json",
        {
            "parameters": count,
            "conditioner_parameters": sum(p.numel() for p in conditioner.parameters()),
            "steps": train_config.steps,
            "snapshots": train_config.kept_steps,
            **counts,
            "class_names": list(source.annotations.classes),
            "segment_names": list(source.annotations.segments),
        },
    )


def make_trainee(
    config: Mapping[str, Any],
    train_config: DiffusionTraining,
    denoiser: Denoiser,
    conditioner: Conditioner,
    validation: list[Batch],
    panel: Panel,
) -> DiffusionTrainee:
    """The training of a denoiser and its conditioner by the options of a diffusion stage."""
    return DiffusionTrainee(
        loss=DiffusionLoss(denoiser, make(config["weighting"], Weighting), train_config.loss, config["vlb_weight"]),
        timesteps=make(config["timestep_sampler"], TimestepSampler, schedule=denoiser.schedule),
        conditioner=conditioner,
        train_config=train_config,
        seed=int(config["seed"]),
        optimizer=optimizer_factory(config["optimizer"]),
        validation=validation,
        panel=panel,
    )


def init_from(imported: Artifact, network: nn.Module, conditioner: nn.Module) -> None:
    """Load the averaged weights of an imported network, or its only ones, and those of its conditioner if it has any.

    Raises ConfigError where the two are not of one architecture, or of different numbers of classes.
    """
    from safetensors.torch import load_file

    kinds = imported.json("summary.json")["weights"]
    state = load_file(str(weights_path(imported.path, "ema" if "ema" in kinds else kinds[0], "last")))
    for name, module in (("network", network), ("conditioner", conditioner)):
        given = _part(state, name)
        shapes = {k: tuple(v.shape) for k, v in module.state_dict().items()}
        same = shapes == {k: tuple(v.shape) for k, v in given.items()}
        if same and name == "network":
            same = beyond_shapes(module) == beyond_shapes(on_meta(imported.manifest.config["network"]))
        node = imported.manifest.config[name]
        if same and given and name == "conditioner" and "heads" in node:  # they do not follow from the shapes
            heads = [m.heads for m in module.modules() if isinstance(m, EncoderAttention)]
            same = heads == [node["heads"]] * node["depth"]
        if given and not same:
            hidden = ("_target_", "dropout", "checkpointing", "tokenizer")
            wanted = ", ".join(f"{k}={v}" for k, v in node.items() if k not in hidden)
            got = f"another {name} than that of {imported.key}"
            raise ConfigError("diffusion.init_from", f"{name} options as imported ({wanted})", got)
        if given:
            module.load_state_dict(given)


def lengthen(trainee: DiffusionTrainee, stored: Artifact) -> None:
    """Go on from the end of a stored training: its step, its optimiser, its averages.

    Raises StageError for one that did not keep these.
    """
    from safetensors.torch import load_file

    file = stored.path / f"{END}.safetensors"
    if not file.exists():
        do = "It was trained by an earlier version: train it again, with the steps of both."
        raise StageError(f"{stored.key}: expected {file.name}, the state of its optimiser; it has none. {do}")
    raw = load_file(str(weights_path(stored.path, "raw", "last")))
    for part, module in (("network", trainee.denoiser.network), ("conditioner", trainee.conditioner)):
        module.load_state_dict(_part(raw, part))
    averages = {}
    for name in trainee.ema.averages:
        with suppress(ConfigError):  # an average that it did not have begins at its weights
            averages[name] = _part(load_file(str(weights_path(stored.path, name, "last"))), "network")
    trainee.lengthen(read_state(file), averages)


def _part(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The state of one part of a model, whose names begin with it."""
    return {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")}


def _panel(ctx: Context, model: Model, source: Source) -> Panel:
    """A function that draws sixteen samples in ten steps, of the same noise and conditions, with current weights."""
    seed, conditioner = int(ctx.config["seed"]), model.conditioner
    source = conditions_in_turn(conditioner, range(PANEL), source.rows(ctx.images().indices("validation")[:PANEL]))
    fields = conditions(conditioner, source, seed, range(PANEL))
    sampler = DDIM(steps=min(PANEL_STEPS, model.denoiser.schedule.T))

    def panel() -> np.ndarray:
        parts = generate(model, sampler, Guided(NoGuidance()), Draws(seed, range(PANEL), PANEL), fields)
        return grid(np.concatenate([to_images(model.decode(z)) for _, z in parts]), columns=8, scale=2)

    return panel
