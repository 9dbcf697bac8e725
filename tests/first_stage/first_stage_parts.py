"""What tests of the first stages share."""

SMALL = {
    "ch": 8,
    "ch_mult": [1, 2],
    "num_res_blocks": 1,
    "z_channels": 4,
    "attn_factors": [],
    "mid_blocks": 2,
    "mid_attention": False,
    "dropout": 0.0,
    "stem": 2,
}
"""Arguments of an autoencoder that a test can afford."""
