"""embeddings: every distinct caption through a frozen text encoder, once."""

from collections.abc import Mapping

from ablatent.conditioning.base import Conditioner
from ablatent.core.errors import ConfigError
from ablatent.core.files import write_json
from ablatent.core.instantiate import make
from ablatent.core.targets import TARGET, class_of
from ablatent.stages.context import Context


def build(ctx: Context) -> None:
    """What the conditioner's `cache` writes for all captions and the empty one, the null condition; summary.json."""
    kind: type[Conditioner] = class_of(ctx.config)
    captions = ctx.annotations().captions
    if captions is None:
        raise ConfigError("conditioner", "data with captions", "data without captions")
    nodes = {name: value for name, value in ctx.config.items() if name != TARGET}
    options = {name: make(value, object) if isinstance(value, Mapping) else value for name, value in nodes.items()}
    blocks = ctx.work.blocks("embeddings", ctx.title)
    summary = kind.cache(options, sorted({*captions, ""}), ctx.work.files, ctx.device, ctx.title, blocks)
    counts = {"captions": len(set(captions)), "images": len(captions)}
    write_json(ctx.work.files / "summary.json", {**counts, **summary})
