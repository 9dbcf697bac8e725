"""Options that came later, and classes that were renamed: what keeps old keys valid.

NEUTRAL: owner → {field: the value at which the field means what the code did before it existed}. The owner is a
class name, or for a plain node its dotted path from the stage kind (``diffusion.training``). A field at its neutral
value is left out of the key, so adding an option retrains nothing. Add a line here with every new option.

RENAMED: new class name → the name that keys go on using.
"""

from typing import Any

NEUTRAL: dict[str, dict[str, Any]] = {
    "diffusion": {"init_from": None},
    "samples": {"prompts": None, "decode_tile": None, "decode_overlap": 16},
    "task": {"prompts": None, "decode_tile": None, "decode_overlap": 16},
    "AutoencoderLoss": {"r1_weight": 0.0, "r1_every": 1},
    "VQAutoencoder": {"update": "gradient", "ema_decay": 0.99, "beta_placement": "paper"},
}
RENAMED: dict[str, str] = {}
