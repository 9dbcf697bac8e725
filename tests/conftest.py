"""Shapes written in the signatures are checked while the tests run (jaxtyping with beartype)."""

import os

from jaxtyping import install_import_hook

os.environ.setdefault("WANDB_MODE", "offline")
install_import_hook("ablatent", "beartype.beartype")
