"""The state of a training at its end: what is read is what was written, and equal states have equal bytes."""

import torch

from ablatent.training.end_state import read_state, write_state


def optimizer() -> torch.optim.Optimizer:
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(4))]
    made = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99))
    for _ in range(3):
        for p in parameters:
            p.grad = torch.ones_like(p)
        made.step()
    return made


def test_the_state_of_an_optimizer_comes_back(tmp_path):
    first = optimizer()
    state = {"step": 3, "optimizers": [first.state_dict()], "module": {"x": torch.arange(3), "none": None}}
    write_state(tmp_path / "a.safetensors", state)
    read = read_state(tmp_path / "a.safetensors")
    assert read["step"] == 3 and torch.equal(read["module"]["x"], torch.arange(3)) and read["module"]["none"] is None
    other = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3, 2)), torch.nn.Parameter(torch.zeros(4))])
    other.load_state_dict(read["optimizers"][0])
    for mine, others in zip(first.state.values(), other.state.values(), strict=True):
        assert all(torch.equal(mine[name], others[name]) for name in mine)
    assert other.param_groups[0]["lr"] == 1e-3 and tuple(other.param_groups[0]["betas"]) == (0.9, 0.99)


def test_what_was_read_is_written_with_the_same_bytes(tmp_path):
    write_state(tmp_path / "a.safetensors", {"optimizers": [optimizer().state_dict()]})
    write_state(tmp_path / "b.safetensors", read_state(tmp_path / "a.safetensors"))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
