"""What every conditioner does, on made-up annotations: declared shapes, rows apart, null condition, dropout."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablatent.checks.option import Option
from ablatent.checks.suite import Broken, expect, expect_near, invariant, raised
from ablatent.conditioning.base import Conditioner
from ablatent.conditioning.source import Source, blank
from ablatent.core.errors import AblatentError
from ablatent.core.rng import stream
from ablatent.core.types import Cond
from ablatent.data.annotation_kinds import BUILT_IN, IMAGES
from ablatent.data.base import Annotations
from ablatent.stages.models import dummy_inputs, make_conditioner
from ablatent.stages.options import needs_of

ROWS, SIDE, LATENT = 4, 32, (4, 8, 8)
CLASSES, SEGMENTS = 5, 6


def made(option: Option) -> tuple[Conditioner, Source]:
    """(the conditioner with fresh weights, whose pretrained parts give zeros; made-up images with annotations)."""
    torch.manual_seed(0)
    conditioner = make_conditioner(option.node, dummy_inputs(LATENT, SIDE, CLASSES, SEGMENTS)).eval()
    return conditioner, source_for(conditioner)


def source_for(conditioner: Conditioner) -> Source:
    """Images of noise with annotations of every kind, and further ones by the names that the conditioner needs."""
    empty, rng = blank(ROWS, (SIDE, SIDE), CLASSES, SEGMENTS, conditioner.needs), np.random.default_rng(0)
    known = replace(
        empty.annotations,
        labels=np.arange(ROWS, dtype=np.int64) % CLASSES,
        captions=[f"a picture of {'many ' * k}things" for k in range(ROWS)],
        boxes=[[(k % CLASSES, 0.1, 0.1, 0.5, 0.4 + 0.1 * k)] for k in range(ROWS)],
        segmentation=rng.integers(0, SEGMENTS, (ROWS, SIDE, SIDE), dtype=np.uint8),
        extra={name: 1.0 + np.arange(ROWS, dtype=np.float32) for name in conditioner.needs if name not in BUILT_IN},
    )
    pixels = rng.integers(0, 256, (ROWS, SIDE, SIDE, 3), dtype=np.uint8)
    return replace(empty, annotations=known, pixels=pixels)


def condition(conditioner: Conditioner, source: Source, index: list[int]) -> Cond:
    """The condition of these rows of the source; what is random in a row follows from its index."""
    rows = {**conditioner.rows(source.rows(index)), "flipped": np.zeros(len(index), dtype=bool)}
    drawn = conditioner.draw(rows, [stream(0, "check", i) for i in index])
    batch = {name: torch.from_numpy(np.asarray(value[:] if hasattr(value, "__getitem__") else value))
             for name, value in drawn.items()}  # fmt: skip
    with torch.no_grad():
        return conditioner.embed(batch)


def _parts(cond: Cond) -> dict[str, Tensor]:
    return {f.name: value for f in fields(cond) if (value := getattr(cond, f.name)) is not None}


def _same(a: Cond, b: Cond, expected: str) -> None:
    one, two = _parts(a), _parts(b)
    expect(set(one) == set(two), f"{expected}: the same parts", (sorted(one), sorted(two)))
    for name, value in one.items():
        expect_near(value, two[name], f"{expected}, in `{name}`", rtol=1e-5, atol=1e-5)


@invariant
def gives_what_it_declares(option: Option) -> None:
    """A condition has the parts, widths and lengths that vector_dim, context_dim and spatial_channels declare."""
    conditioner, source = made(option)
    cond = condition(conditioner, source, list(range(ROWS)))
    for value, declared, dim, name in (
        (cond.vector, conditioner.vector_dim, 1, "vector_dim"),
        (cond.tokens, conditioner.context_dim, 2, "context_dim"),
        (cond.spatial, conditioner.spatial_channels or None, 1, "spatial_channels"),
    ):
        got = None if value is None else value.shape[dim]
        expect(got == declared, f"{name} = {declared}", got)
        expect(
            value is None or len(value) == ROWS,
            f"{ROWS} rows of what {name} declares",
            None if value is None else len(value),
        )
    if cond.spatial is not None:
        expect(
            cond.spatial.shape[2:] == LATENT[1:], f"maps of the latents' size {LATENT[1:]}", tuple(cond.spatial.shape)
        )
    for name, value in _parts(cond).items():
        expect(torch.isfinite(value).all(), f"finite numbers in `{name}`", "others")


@invariant
def is_deterministic_and_keeps_rows_apart(option: Option) -> None:
    """A row has the same condition twice, and alone as in a batch."""
    conditioner, source = made(option)
    together = condition(conditioner, source, list(range(ROWS)))
    _same(condition(conditioner, source, list(range(ROWS))), together, "the same condition twice")
    for k in range(ROWS):
        row = Cond(**{name: value[k : k + 1] for name, value in _parts(together).items()})
        alone = condition(conditioner, source, [k])
        if alone.tokens is not None and row.tokens is not None and alone.tokens.shape[1] < row.tokens.shape[1]:
            row = _cut(row, alone.tokens.shape[1])
        _same(alone, row, f"row {k} alone as in a batch")


def _cut(cond: Cond, length: int) -> Cond:
    """The first tokens of a condition, whose others are padding."""
    return replace(cond, tokens=None if cond.tokens is None else cond.tokens[:, :length],
                   mask=None if cond.mask is None else cond.mask[:, :length])  # fmt: skip


@invariant
def drops_to_the_null_condition(option: Option) -> None:
    """`null` has the parts and shapes of the condition; `drop` puts it into the rows below `dropout` alone."""
    conditioner, source = made(option)
    cond = condition(conditioner, source, list(range(ROWS)))
    if not _parts(cond):
        return
    with torch.no_grad():
        null = conditioner.null(cond)
        for name, value in _parts(cond).items():
            other = _parts(null).get(name)
            if name != "mask" or other is not None:
                got = None if other is None else tuple(other.shape)
                expect(got == tuple(value.shape), f"a null condition with `{name}` of {tuple(value.shape)}", got)
        uniform = torch.full((ROWS,) if conditioner.drops == 1 else (ROWS, conditioner.drops), 0.9999)
        _same(conditioner.drop(cond, uniform), cond, "nothing dropped above dropout")
        if conditioner.dropout == 0:
            return
        uniform[1] = 0.0
        dropped = conditioner.drop(cond, uniform)
    for name, value in _parts(dropped).items():
        if name != "mask":
            kept, nulls = _parts(cond)[name], _parts(null)[name]
            expect_near(value[[0, 2, 3]], kept[[0, 2, 3]], f"`{name}` of the rows above dropout", rtol=1e-6, atol=1e-6)
            expect_near(value[1], nulls[1], f"the null `{name}` in the row below dropout", rtol=1e-6, atol=1e-6)


def _with_only(source: Source, needs: Sequence[str]) -> Source:
    """The source without the images and annotations that are not in needs."""
    known = source.annotations
    absent: dict[str, Any] = {name: None for name in BUILT_IN if name not in (*needs, IMAGES.name)}
    extra = {name: value for name, value in known.extra.items() if name in needs}
    pixels = source.pixels if IMAGES.name in needs else None
    return replace(source, pixels=pixels, annotations=replace(known, **absent, extra=extra))


@invariant
def needs_what_it_declares(option: Option) -> None:
    """What it reads is declared in `needs` as a literal, is enough, and images without it are refused."""
    conditioner, source = made(option)
    read = needs_of(option.node)
    expect(read == set(conditioner.needs), f"needs = {sorted(conditioner.needs)} in its source", sorted(read))
    index = list(range(ROWS))
    enough = f"a condition from what `needs` declares alone: {', '.join(conditioner.needs) or 'nothing'}"
    try:
        alone = condition(conditioner, _with_only(source, conditioner.needs), index)
    except Exception as error:
        raise Broken(enough, raised(error, option)) from error
    _same(alone, condition(conditioner, source, index), enough)
    if not conditioner.needs:
        return
    bare = Source(source.n, Annotations())
    try:
        conditioner.rows(bare)
    except AblatentError:
        return
    raise Broken(f"an error for images without {', '.join(conditioner.needs)}", "none")


@invariant
def learns_what_it_embeds(option: Option) -> None:
    """Its weights are in its state: loaded into a fresh one, they give the same condition."""
    conditioner, source = made(option)
    torch.manual_seed(1)
    other = make_conditioner(option.node, dummy_inputs(LATENT, SIDE, CLASSES, SEGMENTS)).eval()
    other.load_state_dict(conditioner.state_dict())
    index = list(range(ROWS))
    _same(condition(other, source, index), condition(conditioner, source, index), "the condition after a reload")
