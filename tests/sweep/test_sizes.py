"""Parameters by part and memory of a training step, as `do=plan` shows them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from ablatent.core.progress import console
from ablatent.stages import step_memory as sizes
from ablatent.stages.diffusion.check import diffusion_sizes
from ablatent.stages.first_stage.check import first_stage_size
from ablatent.stages.kind_base import Size
from ablatent.stages.step_memory import saved_activation_bytes
from ablatent.sweep.network_sizes import sizes_of, sizes_table
from ablatent.sweep.plan import Composed, make_plan
from composing import composed as compose_job

pytestmark = pytest.mark.slow


def composed(*overrides: str) -> dict[str, Any]:
    return compose_job("preset=tiny", "data=digits", *overrides)


def test_kept_tensors_are_those_of_the_backward_pass() -> None:
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    x = torch.zeros(7, 10)
    # the input of each layer, and of the ReLU its output, which is the second layer's input
    assert saved_activation_bytes(net, lambda: net(x), "32-true") == 4 * 7 * (10 + 20)
    with torch.no_grad():
        assert saved_activation_bytes(net, lambda: net(x), "32-true") == 0
    half = saved_activation_bytes(net, lambda: net(x), "bf16-mixed")
    # half as wide, and with half-precision copies of both weights, of which only the second counts for gradients
    assert 2 * 7 * (10 + 20) <= half <= 2 * 7 * (10 + 20) + 2 * (200 + 100) + 4 * 7 * 10


@pytest.mark.parametrize("overrides", [[], ["first_stage=vq", "conditioner=class"], ["network=dit"]])
def test_pretended_and_real_passes_keep_the_same(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = composed(*overrides)
    real = [first_stage_size(cfg), *diffusion_sizes(cfg)]
    monkeypatch.setattr(sizes, "QUICK", 0)
    pretended = [first_stage_size(cfg), *diffusion_sizes(cfg)]
    assert real[0].activations and real[1].activations
    for a, b in zip(pretended, real, strict=True):
        # kernels of attention keep their inputs as they are or copied, by how these lie in memory
        assert (a.activations or 0) == pytest.approx(b.activations or 0, rel=0.05)
        assert replace(a, activations=b.activations) == b


def test_memory_grows_with_the_batch_and_averages_and_shrinks_in_half_precision(monkeypatch: Any) -> None:
    monkeypatch.setattr(sizes, "QUICK", 0)
    (one,) = diffusion_sizes(composed("training.batch_size=8"))
    (two,) = diffusion_sizes(composed("training.batch_size=16"))
    assert one.activations and two.activations == 2 * one.activations
    assert one.state == 20 * one.parameters
    (other,) = diffusion_sizes(composed("training.ema.extra_decays=[0.9,0.8]"))
    assert other.state == 28 * other.parameters
    (half,) = diffusion_sizes(composed("runtime.precision=bf16-mixed", "training.batch_size=256"))
    assert half.activations and half.activations < 0.9 * 16 * two.activations
    (saving,) = diffusion_sizes(composed("network.checkpointing=true", "training.batch_size=16"))
    assert saving.activations and saving.activations < 0.5 * two.activations


def test_the_table_has_each_distinct_part_once() -> None:
    jobs = [["first_stage=kl"], ["first_stage=vq", "schedule=linear"], ["first_stage=vq", "conditioner=class"]]
    jobs += [["first_stage=identity", "training.steps=3"]]
    plan = make_plan([Composed(o, composed(*o)) for o in jobs])
    each = [size for of_stage in sizes_of(plan).values() for size in of_stage]
    found = [(s.kind, s.part, s.steps, s.preset_steps) for s in dict.fromkeys(each)]
    assert found == [
        ("first_stage", "KLAutoencoder", 20, 20),
        ("diffusion", "UNet", 24, 24),
        ("first_stage", "VQAutoencoder", 20, 20),
        ("diffusion", "UNet", 24, 24),  # with cross-attention
        ("diffusion", "ClassLabel", None, None),
        ("first_stage", "IdentityFirstStage", None, None),
        ("diffusion", "UNet", 3, 24),
    ]
    assert Size(kind="first_stage", part="IdentityFirstStage", parameters=0) in each
    plan.jobs = plan.jobs[1:2]
    with console.capture() as shown:
        console.print(sizes_table(sizes_of(plan)))
    assert "0.70M" in shown.get() and "VQAutoencoder" in shown.get()


def test_refused_jobs_are_left_out() -> None:
    plan = make_plan([Composed([], composed("sampler.steps=2000"))])
    assert plan.jobs[0].refused is not None and sizes_of(plan) == {}
