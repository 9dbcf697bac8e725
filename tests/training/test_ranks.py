"""Two ranks, or several micro-batches, take the steps that one process takes with the whole batch."""

import os
import shutil
import subprocess
import sys

import pytest
import rank_cases
import torch

pytestmark = pytest.mark.slow

CASES = ["kl-sgd", "kl-adam", "vq-sgd", "diffusion-sgd", "diffusion-adam"]
SHARDED = "diffusion-adam:fsdp"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """case → the training by one process, made when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("alone"), {}

    def of(case):
        if case not in made:
            made[case] = rank_cases.train(case, folder / case)
        return made[case]

    return of


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """The folder of all cases trained by two gloo ranks, started by torchrun."""
    folder = tmp_path_factory.mktemp("ranks")
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", rank_cases.__file__, str(folder)]
    done = subprocess.run(
        [sys.executable, *words, *CASES, SHARDED], capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def relative(a, b) -> float:
    """|a - b| / |b| of all numbers together."""
    a, b = (torch.cat([t.double().flatten() for t in ts]) for ts in (a, b))
    return float((a - b).norm() / b.norm())


def assert_same(case, got, expected):
    assert len(got["gradients"]) == len(expected["gradients"]) > 20
    assert relative(got["gradients"], expected["gradients"]) < 1e-5
    assert got["state"].keys() == expected["state"].keys()
    if case.endswith("sgd"):
        assert relative(got["state"].values(), expected["state"].values()) < 1e-5
        for name, value in expected["state"].items():
            torch.testing.assert_close(
                got["state"][name], value, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n} {m}"
            )
    assert got["rows"].keys() == expected["rows"].keys()
    for name, values in expected["rows"].items():
        if name.endswith(("loss", "pixel", "perceptual", "critic", "adaptive_weight", "grad_norm", "validation/psnr")):
            assert got["rows"][name][0] == pytest.approx(values[0], rel=1e-4), name
            # Adam's first steps are signs: where a gradient is almost 0, rounding decides which way
            after_adam = case.endswith("adam") and name.endswith(("critic", "disc_grad_norm"))
            assert got["rows"][name] == pytest.approx(values, rel=1e-2 if after_adam else 1e-4), name
        if "codebook/" in name or name.endswith("codes_restarted"):
            assert got["rows"][name] == values, name


@pytest.mark.parametrize("case", [*CASES, SHARDED])
def test_two_ranks_train_as_one(case, alone, by_two):
    name = case.partition(":")[0]
    first, second = (torch.load(by_two / f"{case}.{rank}.pt") for rank in range(2))
    assert all(torch.equal(v, second["state"][k]) for k, v in first["state"].items()), "the ranks differ"
    assert_same(name, first, alone(name))
    assert not second["rows"], "only the first rank says something"
    assert any(first["spread"]) == (case == SHARDED)


def test_one_process_goes_on_where_two_with_spread_weights_were_stopped(alone, by_two, tmp_path):
    """Optimiser state and averages of the weights, too, are whole in the checkpoint."""
    folder = shutil.copytree(by_two / SHARDED, tmp_path / SHARDED)
    assert torch.load(folder / "last.ckpt", weights_only=True)["step"] == rank_cases.STEPS // 2
    resumed = rank_cases.train("diffusion-adam", folder)["state"]
    for name, value in alone("diffusion-adam")["state"].items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n} {m}")


@pytest.mark.parametrize(("case", "grad_accum_steps"), [("kl-sgd", 2), ("vq-sgd", 4), ("diffusion-sgd", 4)])
def test_micro_batches_train_as_one(case, grad_accum_steps, alone, tmp_path):
    assert_same(case, rank_cases.train(case, tmp_path, grad_accum_steps=grad_accum_steps), alone(case))
