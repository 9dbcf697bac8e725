"""What every task does: how it is planned, which models it takes, and that its result is whole."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablatent.checks.conditioner import source_for
from ablatent.checks.gaussian import cosine
from ablatent.checks.option import Option
from ablatent.checks.suite import NotChecked, expect, invariant
from ablatent.conditioning.base import Conditioner, ConditionInfo
from ablatent.conditioning.source import Source
from ablatent.core.errors import ConfigError
from ablatent.core.types import Prediction
from ablatent.data.annotation_kinds import BUILT_IN, IMAGES
from ablatent.data.base import Fingerprint
from ablatent.data.latents import LatentNormalizer
from ablatent.diffusion.denoiser import Denoiser
from ablatent.diffusion.parameterization import V
from ablatent.first_stage.identity import IdentityFirstStage
from ablatent.samplers.ddim import DDIM
from ablatent.stages.diffusion.kind import DiffusionKind
from ablatent.stages.graph import stages_of
from ablatent.stages.kind_base import Fingerprints
from ablatent.stages.models import dummy_inputs, make_conditioner
from ablatent.stages.restoration.kind import RestorationKind
from ablatent.stages.samples.kind import SamplesKind
from ablatent.stages.scores.kind import ScoresKind
from ablatent.stages.stage import Stage
from ablatent.stages.task.kind import TaskKind
from ablatent.tasks.base import FigureTask, Task, TaskContext, TaskResult
from ablatent.tasks.generate import Model

SIDE, STEPS, IMAGES_THERE = 32, 12, 4
CLASSES, SEGMENTS = 5, 6


class MadeUp(Fingerprints):
    """Digests of data that nobody reads."""

    def of(self, data: Mapping[str, Any]) -> Fingerprint:
        return Fingerprint(images="0" * 64, annotations="1" * 64)


def planned(option: Option, **changes: Any) -> dict[str, Stage]:
    """role → stage of the job of the option. changes: of the task's values."""
    return stages_of({**option.config, "task": {**option.node, **changes}}, MadeUp())


@invariant
def is_planned_as_it_declares(option: Option) -> None:
    """Its job has samples and scores, or a task stage and what restores, or no model, as its declarations say."""
    task, roles = option.make(Task), planned(option)
    expect(
        task.conditions_from in ("validation", "classes"), "conditions_from validation or classes", task.conditions_from
    )
    figure = task.uses_model and not task.scored
    expect(isinstance(task, FigureTask) == figure, "a FigureTask where no samples are scored", type(task).__name__)
    wanted = {
        DiffusionKind.name: task.uses_model,
        SamplesKind.name: task.uses_model and task.scored,
        ScoresKind.name: task.uses_model and task.scored,
        TaskKind.name: figure,
        RestorationKind.name: figure and task.restores,
    }
    for role, there in wanted.items():
        expect((role in roles) == there, f"{'a' if there else 'no'} stage {role} in its job", ", ".join(roles))
    again = {role: stage.key for role, stage in planned(option).items()}
    expect(again == {role: stage.key for role, stage in roles.items()}, "the same keys twice", again)


@invariant
def its_options_decide_its_stage_alone(option: Option) -> None:
    """Another value of an option changes the key of the task's stage, and of no training."""
    if TaskKind.name not in (before := planned(option)):
        return
    numbers = [k for k, v in option.arguments().items() if isinstance(v, int) and not isinstance(v, bool)]
    for name in numbers:
        after = planned(option, **{name: option.node[name] + 1})
        expect(after[TaskKind.name].key != before[TaskKind.name].key, f"another key with another {name}", "the same")
        trained = [role for role in before if before[role].trained and before[role].key != after[role].key]
        expect(not trained, f"the same trainings with another {name}", f"others of {', '.join(trained)}")


@invariant
def takes_some_model(option: Option) -> None:
    """It takes the model of some condition, or of none, and refuses others by a ConfigError; its canvas has pixels."""
    task, taken = option.make(Task), []
    for needs in [(), *((name,) for name in (*BUILT_IN, IMAGES.name))]:
        for fills in (False, True) if needs == (IMAGES.name,) else (False,):
            try:
                task.check_model([ConditionInfo("made up", needs, fills)] if needs else [], SIDE)
            except ConfigError:
                continue
            taken.append(needs)
    expect(taken or getattr(task, "reads", None), "some model that it takes", "none")
    canvas = task.canvas(SIDE)
    expect(all(isinstance(side, int) and side >= 1 for side in canvas), "a canvas of whole pixels", canvas)


@invariant
def counts_its_work(option: Option) -> None:
    """It runs with a sampler of enough steps, and knows how many steps its images take in all."""
    task = option.make(Task)
    task.check(DDIM(steps=STEPS), cosine())
    expect(task.steps_each(DDIM(steps=STEPS)) >= 1, "steps of an image of `draw`", task.steps_each(DDIM(steps=STEPS)))
    if isinstance(task, FigureTask):
        steps = task.image_steps(DDIM(steps=STEPS))
        expect(isinstance(steps, int) and steps >= 1, "images times steps, a whole number", steps)


@invariant
def its_result_is_whole(option: Option) -> None:
    """Its figure has an image for each row and column, its scores are finite, what it restores has its truth; twice the
    same."""
    task = option.make(Task)
    if not isinstance(task, FigureTask):
        return
    conditioner = make_conditioner(option.config["conditioner"], dummy_inputs((3, SIDE, SIDE), SIDE, CLASSES, SEGMENTS))
    try:
        task.check_model(conditioner.info(), SIDE)
    except ConfigError as e:
        raise NotChecked(f"its job has no model that it takes; type conditioner=…. {e}") from None
    result, again = (task.run(context(conditioner.eval())) for _ in range(2))
    _check_result(result)
    for name, score in result.scores.items():
        expect(again.scores[name] == score, f"the same {name} twice", again.scores[name])
    expect(np.array_equal(result.images, again.images), "the same figure twice", "another")


def _check_result(result: TaskResult) -> None:
    places = len(result.rows) * len(result.columns)
    expect(len(result.images) == places, f"{places} images, rows times columns", len(result.images))
    expect(result.images.dtype == np.uint8, "images in uint8", result.images.dtype)
    for name, score in result.scores.items():
        expect(np.isfinite(score), f"a finite {name}", score)
    if result.restoration is not None:
        r = result.restoration
        shape = (len(r.truth) * r.samples_per_image, *r.truth.shape[1:])
        expect(r.restored.shape == shape, f"restored images of the shape {shape}", r.restored.shape)
        expect(r.baseline.shape == r.truth.shape, f"a baseline of the shape {r.truth.shape}", r.baseline.shape)


def context(conditioner: Conditioner) -> TaskContext:
    """The context of a task whose model answers at once: samples are grey, by the mean of their first state."""
    source = source_for(conditioner)

    def draw(
        x: Tensor, index: Sequence[int], sampler: Any, watch: Any = None, source: Any = None, noised: bool = False
    ) -> np.ndarray:
        if watch is not None:
            for i, t in enumerate(sampler.times(cosine())[1:]):
                watch(range(len(x)), i, t, x * 0.9**i, Prediction(x * 0, x))
        value = (x.mean(dim=(1, 2, 3)).numpy() * 60 + 128).clip(0, 255)
        return np.broadcast_to(value[:, None, None, None], (len(x), *x.shape[2:], 3)).round().astype(np.uint8)

    def conditions_of(indices: Sequence[int]) -> Source:
        return source.rows([i % source.n for i in indices])

    shape = (3, SIDE, SIDE)
    model = Model(
        first_stage=IdentityFirstStage(),
        normalizer=LatentNormalizer((0.0,) * 3, (1.0,) * 3),
        denoiser=Denoiser(torch.nn.Identity(), cosine(), V()),
        conditioner=conditioner,
        latent_shape=shape,
        device=torch.device("cpu"),
    )
    return TaskContext(
        model=model,
        sampler=DDIM(steps=STEPS),
        seed=3,
        draw=draw,
        features=lambda x: x.reshape(len(x), -1)[:, :64].astype(np.float32),
        validation_source=replace(source, masks=None),
        conditions_of=conditions_of,
        max_conditions=IMAGES_THERE,
    )
