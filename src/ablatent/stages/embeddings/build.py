"""embeddings: every distinct caption through a frozen text encoder, once."""

from ablatent.conditioning.frozen_text import FrozenText
from ablatent.core.errors import ConfigError
from ablatent.core.files import write_json
from ablatent.stages.context import Context
from ablatent.stages.objects import make


def build(ctx: Context) -> None:
    """states.npy (u, max_length, dim), zeros behind the last token; counts.npy (u,): tokens that count; captions.json;
    summary.json. The empty caption is among them."""
    config = ctx.config
    captions = ctx.annotations().captions
    if captions is None:
        raise ConfigError("conditioner", "data with captions", "data without captions")
    encoder = make(config["encoder"])
    text = FrozenText(encoder, True, None, int(config["max_length"]), config["stored"]).to(ctx.device)
    unique = sorted({*captions, ""})  # the empty one is the null condition
    _, counts = text.encode(unique, ctx.title, ctx.work.files)
    write_json(
        ctx.work.files / "summary.json",
        {
            "captions": len(set(captions)),
            "images": len(captions),
            "tokens": int(counts.sum()),
            "longest": int(counts.max(initial=0)),
            "width": encoder.dim,
            "encoder": encoder.served(),
        },
    )
