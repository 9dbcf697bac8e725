"""What became of the images of each data set of a plan, as lines for the console."""

from collections.abc import Iterator, Mapping

from ablatent.core.declared import declared
from ablatent.data.counts import Counts, class_title
from ablatent.data.listing import printable
from ablatent.stages.kind_base import Config
from ablatent.store.identity import digest
from ablatent.sweep.plan import Plan

SHOWN = 20
"""Classes and kinds of files that a line names."""


def image_lines(plan: Plan) -> Iterator[str]:
    """One text for each distinct data set of the jobs that can run."""
    seen: set[str] = set()
    for job in plan.jobs:
        if job.counts is not None and (name := digest(dict(job.config["data"]))) not in seen:
            seen.add(name)
            yield described(job.config["data"], job.counts)


def described(data: Config, counts: Counts) -> str:
    """The images of a data node: found, used, left out and why, beside them, classes."""
    title = " ".join(str(t) for t in (declared(data, "name", ""), data.get("root")) if t)
    used = f"{counts.found} found, {counts.train} for training, {counts.validation} for validation"
    lines = [f"images of {printable(title)}: {used}"]
    lines += [f"  left out: {_listed(counts.left_out)}"] if counts.left_out else []
    lines += [f"  beside them, not read: {_listed(counts.others)}"] if counts.others else []
    if counts.classes:
        more = f", … ({len(counts.classes)})" if len(counts.classes) > SHOWN else ""
        named = (printable(class_title(i, counts.classes)) for i in range(min(SHOWN, len(counts.classes))))
        lines.append(f"  classes: {', '.join(named)}{more}")
    lines += [f"  {counts.remark}"] if counts.remark else []
    return "\n".join(lines)


def _listed(numbers: Mapping[str, int]) -> str:
    parts = [f"{n} {what}" for what, n in list(numbers.items())[:SHOWN]]
    return ", ".join(parts) + (", …" if len(numbers) > SHOWN else "")
