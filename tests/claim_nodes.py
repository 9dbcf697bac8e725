"""Nodes of claims, as a configuration has them."""

from typing import Any


def claim(**values: Any) -> dict[str, Any]:
    """A claim with one contrast, x, of these keys in place of those that it has else."""
    about = {"metric": "fid_192", "of": {"first_stage": "vq"}, "against": {"first_stage": "kl"}, "expect": "lower"}
    contrast = {**about, "margin": 0.0, **values}
    return {"statement": "VQ is better.", "source": "A paper", "refuted_by": "KL is.", "contrasts": {"x": contrast}}
