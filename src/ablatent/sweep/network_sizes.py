"""The table of networks that do=plan prints: parameters, operations, and the memory of a training step."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from ablatent.core.values import without
from ablatent.data.base import Fingerprint
from ablatent.stages.all_kinds import kinds_of
from ablatent.stages.check_helpers import one_thread
from ablatent.stages.graph import stages_of
from ablatent.stages.kind_base import Config, Fingerprints, Size
from ablatent.store.identity import Key, digest
from ablatent.sweep.plan import Plan


class UnseenData(Fingerprints):
    """In place of the digests of data that is not there."""

    def of(self, config: Config) -> Fingerprint:
        return Fingerprint("unseen", "unseen")


def sizes_of(plan: Plan) -> dict[Key, list[Size]]:
    """Key of a stage → the sizes of its networks, over all jobs but those that were refused for more than that their
    data is not there. Each distinct network is sized once."""
    found: dict[Key, list[Size]] = {}
    of_networks: dict[str, list[Size]] = {}
    for job in plan.jobs:
        if job.refused is not None and not job.without_data:
            continue
        stages = job.stages or stages_of(job.config, UnseenData())
        for kind in kinds_of(job.config):
            stage = stages.get(kind.name)
            if stage is None or stage.key in found:
                continue
            decides = {key: job.config[key] for key in kind.sized_by or ("first_stage", "data")}
            if not kind.sized_by:
                decides[kind.name] = stage.config
            name = digest({"kind": kind.name, "decides": without(decides, "seed")})
            if name not in of_networks:
                with one_thread():
                    of_networks[name] = kind.sizes(job.config)
            found[stage.key] = of_networks[name]
    return found


def sizes_table(sizes: Mapping[Key, Sequence[Size]]) -> Table:
    """The table of the sizes of stages, a row for each distinct network."""
    out = Table(title="networks", title_justify="left")
    for column in ("stage", "part"):
        out.add_column(column)
    for column in (
        "parameters",
        "GFLOP an image",
        "weights, Adam, EMA",
        "activations",
        "batch",
        "steps",
        "the preset's",
    ):
        out.add_column(column, justify="right")
    for s in dict.fromkeys(size for of_stage in sizes.values() for size in of_stage):
        counts = ["–" if n is None else f"{n:,}" for n in (s.batch_size, s.steps, s.preset_steps)]
        flops = "–" if s.flops is None else f"{s.flops / 1e9:.3g}"
        out.add_row(
            s.kind, s.part, f"{s.parameters / 1e6:.2f}M", flops, _bytes(s.state), _bytes(s.activations), *counts
        )
    return out


def _bytes(n: Any) -> str:
    if n is None:
        return "–"
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"
