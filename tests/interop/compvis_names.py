"""The tensors of CompVis checkpoints, name by name, from the options of the reference's configurations.

Written from the released models' documented names, with nothing of the code under test.
"""

from collections.abc import Iterator

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]


def layer(name: str, out: int, cin: int, *kernel: int, bias: bool = True) -> Named:
    yield f"{name}.weight", (out, cin, *kernel)
    if bias:
        yield f"{name}.bias", (out,)


def norm(name: str, ch: int) -> Named:
    yield f"{name}.weight", (ch,)
    yield f"{name}.bias", (ch,)


def autoencoder(
    ch, ch_mult, num_res_blocks, z, attn_resolutions=(), resolution=256, n_embed=None, mid_attn=True
) -> Named:
    def block(name: str, cin: int, out: int) -> Named:
        yield from norm(f"{name}.norm1", cin)
        yield from layer(f"{name}.conv1", out, cin, 3, 3)
        yield from norm(f"{name}.norm2", out)
        yield from layer(f"{name}.conv2", out, out, 3, 3)
        if cin != out:
            yield from layer(f"{name}.nin_shortcut", out, cin, 1, 1)

    def attn(name: str, c: int) -> Named:
        yield from norm(f"{name}.norm", c)
        for part in ("q", "k", "v", "proj_out"):
            yield from layer(f"{name}.{part}", c, c, 1, 1)

    def mid(side: str, c: int) -> Named:
        yield from block(f"{side}.mid.block_1", c, c)
        if mid_attn:
            yield from attn(f"{side}.mid.attn_1", c)
        yield from block(f"{side}.mid.block_2", c, c)

    levels, out = len(ch_mult), z if n_embed else 2 * z
    res, c = resolution, ch
    yield from layer("encoder.conv_in", ch, 3, 3, 3)
    for i, mult in enumerate(ch_mult):
        for j in range(num_res_blocks):
            yield from block(f"encoder.down.{i}.block.{j}", c, ch * mult)
            c = ch * mult
            if res in attn_resolutions:
                yield from attn(f"encoder.down.{i}.attn.{j}", c)
        if i != levels - 1:
            yield from layer(f"encoder.down.{i}.downsample.conv", c, c, 3, 3)
            res //= 2
    yield from mid("encoder", c)
    yield from norm("encoder.norm_out", c)
    yield from layer("encoder.conv_out", out, c, 3, 3)
    yield from layer("decoder.conv_in", c, z, 3, 3)
    yield from mid("decoder", c)
    for i in reversed(range(levels)):
        for j in range(num_res_blocks + 1):
            yield from block(f"decoder.up.{i}.block.{j}", c, ch * ch_mult[i])
            c = ch * ch_mult[i]
            if res in attn_resolutions:
                yield from attn(f"decoder.up.{i}.attn.{j}", c)
        if i != 0:
            yield from layer(f"decoder.up.{i}.upsample.conv", c, c, 3, 3)
            res *= 2
    yield from norm("decoder.norm_out", c)
    yield from layer("decoder.conv_out", 3, c, 3, 3)
    yield from layer("quant_conv", out, out, 1, 1)
    yield from layer("post_quant_conv", z, z, 1, 1)
    if n_embed:
        yield "quantize.embedding.weight", (n_embed, z)


def unet(
    in_channels, out_channels, model_channels, channel_mult, attention_resolutions, num_res_blocks=2, context_dim=None,
    transformer_depth=1, scale_shift=False, resblock_updown=False, adm_in_channels=None,
) -> Named:  # fmt: skip
    emb = 4 * model_channels

    def res(name: str, cin: int, out: int) -> Named:
        yield from norm(f"{name}.in_layers.0", cin)
        yield from layer(f"{name}.in_layers.2", out, cin, 3, 3)
        yield from layer(f"{name}.emb_layers.1", out * (2 if scale_shift else 1), emb)
        yield from norm(f"{name}.out_layers.0", out)
        yield from layer(f"{name}.out_layers.3", out, out, 3, 3)
        if cin != out:
            yield from layer(f"{name}.skip_connection", out, cin, 1, 1)

    def attention(name: str, c: int) -> Named:
        yield from norm(f"{name}.norm", c)
        if context_dim is None:
            yield from layer(f"{name}.qkv", 3 * c, c, 1)
            yield from layer(f"{name}.proj_out", c, c, 1)
            return
        yield from layer(f"{name}.proj_in", c, c, 1, 1)
        for d in range(transformer_depth):
            block = f"{name}.transformer_blocks.{d}"
            for part, source in (("attn1", c), ("attn2", context_dim)):
                yield from layer(f"{block}.{part}.to_q", c, c, bias=False)
                yield from layer(f"{block}.{part}.to_k", c, source, bias=False)
                yield from layer(f"{block}.{part}.to_v", c, source, bias=False)
                yield from layer(f"{block}.{part}.to_out.0", c, c)
            yield from layer(f"{block}.ff.net.0.proj", 8 * c, c)
            yield from layer(f"{block}.ff.net.2", c, 4 * c)
            for i in (1, 2, 3):
                yield from norm(f"{block}.norm{i}", c)
        yield from layer(f"{name}.proj_out", c, c, 1, 1)

    yield from layer("time_embed.0", emb, model_channels)
    yield from layer("time_embed.2", emb, emb)
    if adm_in_channels is not None:
        yield from layer("label_emb.0.0", emb, adm_in_channels)
        yield from layer("label_emb.0.2", emb, emb)
    yield from layer("input_blocks.0.0", model_channels, in_channels, 3, 3)
    ch, ds, k, skips = model_channels, 1, 1, [model_channels]
    for level, mult in enumerate(channel_mult):
        for _ in range(num_res_blocks):
            yield from res(f"input_blocks.{k}.0", ch, mult * model_channels)
            ch = mult * model_channels
            if ds in attention_resolutions:
                yield from attention(f"input_blocks.{k}.1", ch)
            skips.append(ch)
            k += 1
        if level != len(channel_mult) - 1:
            if resblock_updown:
                yield from res(f"input_blocks.{k}.0", ch, ch)
            else:
                yield from layer(f"input_blocks.{k}.0.op", ch, ch, 3, 3)
            skips.append(ch)
            k, ds = k + 1, ds * 2
    yield from res("middle_block.0", ch, ch)
    yield from attention("middle_block.1", ch)
    yield from res("middle_block.2", ch, ch)
    k = 0
    for level, mult in reversed(list(enumerate(channel_mult))):
        for i in range(num_res_blocks + 1):
            yield from res(f"output_blocks.{k}.0", ch + skips.pop(), mult * model_channels)
            ch, place = mult * model_channels, 1
            if ds in attention_resolutions:
                yield from attention(f"output_blocks.{k}.1", ch)
                place = 2
            if level and i == num_res_blocks:
                if resblock_updown:
                    yield from res(f"output_blocks.{k}.{place}", ch, ch)
                else:
                    yield from layer(f"output_blocks.{k}.{place}.conv", ch, ch, 3, 3)
                ds //= 2
            k += 1
    yield from norm("out.0", ch)
    yield from layer("out.2", out_channels, ch, 3, 3)


# name → (options, parameters in millions, first two decimals)
AUTOENCODERS = {
    "kl-f4": ({"ch_mult": (1, 2, 4), "z": 3}, 55.31),
    "kl-f8": ({"ch_mult": (1, 2, 4, 4), "z": 4}, 83.65),
    "kl-f16": ({"ch_mult": (1, 1, 2, 2, 4), "z": 16, "attn_resolutions": (16,)}, 69.61),
    "kl-f32": ({"ch_mult": (1, 1, 2, 2, 4, 4), "z": 64, "attn_resolutions": (16, 8)}, 103.88),
    "vq-f4": ({"ch_mult": (1, 2, 4), "z": 3, "n_embed": 8192}, 55.32),
    "vq-f4-noattn": ({"ch_mult": (1, 2, 4), "z": 3, "n_embed": 8192, "mid_attn": False}, 53.22),
    "vq-f8": ({"ch_mult": (1, 2, 2, 4), "z": 4, "n_embed": 16384, "attn_resolutions": (32,)}, 67.72),
    "vq-f16": ({"ch_mult": (1, 1, 2, 2, 4), "z": 8, "n_embed": 16384, "attn_resolutions": (16,)}, 69.59),
}
# name → (options, parameters in millions, heads or channels a head)
UNETS = {
    "celeba f4": ({"in_channels": 3, "out_channels": 3, "model_channels": 224, "channel_mult": (1, 2, 3, 4),
        "attention_resolutions": (8, 4, 2)}, 274.06, {"head_channels": 32}),
    "churches f8": ({"in_channels": 4, "out_channels": 4, "model_channels": 192, "channel_mult": (1, 2, 2, 4, 4),
        "attention_resolutions": (1, 2, 4, 8), "scale_shift": True, "resblock_updown": True}, 294.97, {"heads": 8}),
    "class-conditional f8": ({"in_channels": 4, "out_channels": 4, "model_channels": 256, "channel_mult": (1, 2, 4),
        "attention_resolutions": (4, 2, 1), "context_dim": 512}, 394.98, {"head_channels": 32}),
    "class-conditional f4": ({"in_channels": 3, "out_channels": 3, "model_channels": 192, "channel_mult": (1, 2, 3, 5),
        "attention_resolutions": (8, 4, 2), "context_dim": 512}, 400.92, {"heads": 1}),
    "text-to-image": ({"in_channels": 4, "out_channels": 4, "model_channels": 320, "channel_mult": (1, 2, 4, 4),
        "attention_resolutions": (4, 2, 1), "context_dim": 1280}, 872.30, {"heads": 8}),
    "text-to-image 256": ({"in_channels": 3, "out_channels": 3, "model_channels": 192, "channel_mult": (1, 2, 3, 5),
        "attention_resolutions": (8, 4, 2), "context_dim": 640}, 403.62, {"head_channels": 32}),
    "retrieval-augmented 768": ({"in_channels": 16, "out_channels": 16, "model_channels": 448,
        "channel_mult": (1, 2, 3, 4), "attention_resolutions": (4, 2, 1), "context_dim": 768}, 1335.48,
        {"head_channels": 32}),
    "layout": ({"in_channels": 3, "out_channels": 3, "model_channels": 128, "channel_mult": (1, 2, 3, 4),
        "attention_resolutions": (8, 4, 2), "context_dim": 512, "transformer_depth": 3}, 246.28, {"head_channels": 32}),
    "super-resolution": ({"in_channels": 6, "out_channels": 3, "model_channels": 160, "channel_mult": (1, 2, 2, 4),
        "attention_resolutions": (16, 8)}, 113.62, {"head_channels": 32}),
    "inpainting": ({"in_channels": 7, "out_channels": 3, "model_channels": 256, "channel_mult": (1, 2, 3, 4),
        "attention_resolutions": (8, 4, 2), "resblock_updown": True}, 387.25, {"heads": 8}),
    "semantic synthesis": ({"in_channels": 6, "out_channels": 3, "model_channels": 128, "channel_mult": (1, 4, 8),
        "attention_resolutions": (32, 16, 8)}, 215.23, {"heads": 8}),
}  # fmt: skip
