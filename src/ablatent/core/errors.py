"""Errors that say what was expected, what came, what to do, and which config key. Free of torch."""

import difflib
from collections.abc import Iterable


class AblatentError(Exception):
    """Base of all errors that are shown to a person as one message, without a traceback."""


class ConfigError(AblatentError):
    """A configuration that cannot run.

    key: the dotted config path, e.g. ``sampler.steps``; expected: what would be right; got: what came;
    do: what to do about it (a command, a nearest spelling), may be empty.
    """

    def __init__(self, key: str, expected: str, got: object, do: str = ""):
        self.key, self.expected, self.got, self.do = key, expected, got, do
        super().__init__(f"{key}: expected {expected}; got {got!r}." + (f" {do}" if do else ""))


class DataError(AblatentError):
    """Images, annotations or weights on disk that cannot be used."""


class StageError(AblatentError):
    """A stage that failed while it was built; the message names the stage."""


def short(value: object) -> str:
    """A value for a message: its repr, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def closest(word: str, options: Iterable[str]) -> str | None:
    """The option that is spelled most like `word`, or None when nothing is near."""
    found = difflib.get_close_matches(str(word), [str(o) for o in options], n=1, cutoff=0.5)
    return found[0] if found else None


# Spellings that people bring from elsewhere → ours.
SYNONYMS = {
    **{"learning_rate": "lr", "betas_schedule": "schedule", "cfg": "classifier_free", "cfg_scale": "scale"},
    **{"square": "mse", "l2": "mse", "absolute": "l1", "mae": "l1", "smooth_l1": "huber"},
    **{"given": "custom", "betas": "custom", "start_from": "init_from", "accumulate": "grad_accum_steps"},
    **{"gradient_accumulation_steps": "grad_accum_steps", "accumulate_grad_batches": "grad_accum_steps"},
    **{"others": "extra_decays", "ema_decay": "decay", "max_steps": "steps", "num_steps": "steps", "epsilon": "eps"},
    **{
        "num_inference_steps": "steps",
        "guidance_scale": "scale",
        "gradient_clip_val": "clip",
        "each": "samples_per_image",
    },
}


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """'Did you mean …?' for what others call by this word, else for the closest option, or an empty string."""
    known = [str(option) for option in options]
    parent, _, last = str(word).rpartition(".")
    ours = SYNONYMS.get(last, "")
    near = next((o for o in known if o == (f"{parent}.{ours}" if parent else ours)), None) if ours else None
    near = near or closest(word, known)
    return f"Did you mean '{near}'?" if near else ""
