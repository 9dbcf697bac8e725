"""A simulation of the scheduler: sweeps of many stages on many slots, with builds that are lost.

python benchmarks/schedule.py [STAGES] [SLOTS]

STAGES (10,000) in the shape of a sweep (each first stage has latents and a reconstruction, each latents several
trainings, each training several samples, each with its scores) on SLOTS (500), and on a quarter of them. Durations are
drawn (log-normal around a mean for each kind); a build is lost at a random point with a given probability, and tried
again from there on after a pause, as a training goes on from its checkpoint. No sweep ends before its longest path, nor
before its work is shared among the slots: the larger of the two is the bound. The order is that of `sweep/schedule.py`,
with true durations, with the guesses that an executor has for what was never built, and as stages come for comparison.
Beside it: what the journal of so many stages costs. Writes benchmarks/results/schedule.md and .json.
"""

import heapq
import itertools
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ablatent.stages.stage import Stage
from ablatent.store.identity import Key
from ablatent.store.records import StageOutcome
from ablatent.sweep.expected_time import GUESS
from ablatent.sweep.journal import Journal, states_of
from ablatent.sweep.schedule import Schedule, longest_paths

MEAN = {
    "first_stage": 3600.0,
    "latents": 120.0,
    "reconstruction": 60.0,
    "diffusion": 7200.0,
    "samples": 300.0,
    "scores": 60.0,
}
SPREAD = 0.5
TRAINED = ("first_stage", "diffusion")
PAUSE = 1.0
LOST = (0.0, 0.01, 0.1)
RESULTS = Path(__file__).parent / "results"


def sweep_of(count: int, draw: random.Random) -> dict[Key, Stage]:
    """At least so many stages: first stages with 1 to 8 trainings each, trainings with 1 to 8 samples each."""
    stages: dict[Key, Stage] = {}

    def add(kind: str, *inputs: Stage) -> Stage:
        read = {f"i{n}": stage.key for n, stage in enumerate(inputs)}
        stage = Stage(kind=kind, version=1, config={"n": len(stages)}, inputs=read, trained=kind in TRAINED)
        stages[stage.key] = stage
        return stage

    while len(stages) < count:
        first = add("first_stage")
        add("reconstruction", first)
        latents = add("latents", first)
        for _ in range(draw.randint(1, 8)):
            diffusion = add("diffusion", latents)
            for _ in range(draw.randint(1, 8)):
                add("scores", add("samples", diffusion))
    return stages


def simulated(
    stages: Mapping[Key, Stage], takes: Mapping[Key, float], schedule: Schedule, slots: int, lost: float, seed: int
) -> tuple[float, float, int]:
    """(seconds until the last stage ends, work done in all, builds that were lost)."""
    draw, now, work, losses = random.Random(seed), 0.0, 0.0, 0
    left = dict(takes)
    events: list[tuple[float, int, Key, bool]] = []  # when, order, stage, whether it ends there
    free = slots
    later: list[tuple[float, Key]] = []
    count = 0
    while not schedule.done:
        while later and later[0][0] <= now:
            schedule.give_back(heapq.heappop(later)[1])
        while free and (key := schedule.take()) is not None:
            free, count = free - 1, count + 1
            fails = draw.random() < lost
            spends = left[key] * (draw.random() if fails else 1.0)
            work += spends
            losses += fails
            if fails and stages[key].trained:
                left[key] -= spends
            heapq.heappush(events, (now + spends, count, key, not fails))
        waits = later[0][0] if later else float("inf")
        if free and waits < (events[0][0] if events else float("inf")):
            now = waits
            continue
        now, _, key, ends = heapq.heappop(events)
        free += 1
        if ends:
            schedule.finish(key)
        else:
            heapq.heappush(later, (now + PAUSE, key))
    return now, work, losses


class AsTheyCome(Schedule):
    """First come, first served, for comparison."""

    def __init__(self, stages: Mapping[Key, Stage]) -> None:
        super().__init__(stages, lambda _: 1.0)
        self.order = {key: (0.0, i) for i, key in enumerate(stages)}
        self.ready = []
        self._add(key for key, missing in self.missing.items() if not missing)


def journal_cost(stages: Mapping[Key, Stage]) -> dict[str, float]:
    """Seconds and bytes of the states of so many stages: begun, ended, and read by do=status."""
    with tempfile.TemporaryDirectory() as place:
        journal = Journal(Path(place))
        begun = time.perf_counter()
        for key in stages:
            journal.begin(key, "node1:1234")
            journal.end(key, StageOutcome("built", 1.0))
        written = time.perf_counter() - begun
        begun = time.perf_counter()
        found = states_of(Path(place))
        read = time.perf_counter() - begun
        size = sum(p.stat().st_blocks * 512 for p in Path(place).rglob("*") if p.is_file())
    assert len(found) == len(stages)
    return {
        "ms a stage, begun and ended": 1000 * written / len(stages),
        "seconds to read all": read,
        "files": len(found),
        "MiB on disk": size / 2**20,
    }


def main(count: int = 10_000, slots: int = 500) -> int:
    draw = random.Random(0)
    stages = sweep_of(count, draw)
    takes = {key: MEAN[stage.kind] * draw.lognormvariate(-SPREAD * SPREAD / 2, SPREAD) for key, stage in stages.items()}
    path = max(longest_paths(stages, lambda stage: takes[stage.key]).values())
    rows = []
    for lost, places in itertools.product(LOST, (slots, max(1, slots // 4))):
        orders = {
            "longest path, true durations": lambda: Schedule(stages, lambda stage: takes[stage.key]),
            "longest path, guesses": lambda: Schedule(stages, lambda stage: GUESS[stage.trained]),
            "as they come": lambda: AsTheyCome(stages),
        }
        for name, order in orders.items():
            begun = time.perf_counter()
            ended, work, losses = simulated(stages, takes, order(), places, lost, seed=1)
            bound = max(path, work / places)
            rows.append(
                {
                    "lost": lost,
                    "slots": places,
                    "order": name,
                    "hours": ended / 3600,
                    "bound": bound / 3600,
                    "over the bound": ended / bound,
                    "lost builds": losses,
                    "seconds of the scheduler": time.perf_counter() - begun,
                }
            )
            print(rows[-1], flush=True)
    cost = journal_cost(stages)
    print(cost)
    write({"stages": len(stages), "slots": slots, "longest path [h]": path / 3600, "rows": rows, "journal": cost})
    return 0


def write(result: dict) -> None:
    """The record, in benchmarks/results."""
    (RESULTS / "schedule.json").write_text(json.dumps(result, indent=2) + "\n")
    columns = ("slots", "builds lost", "order", "ends after [h]", "bound [h]", "over the bound", "scheduler [s]")
    head = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    body = "\n".join(
        f"| {row['slots']} | {row['lost']:.0%} ({row['lost builds']}) | {row['order']} | {row['hours']:.2f} "
        f"| {row['bound']:.2f} | {row['over the bound']:.3f} | {row['seconds of the scheduler']:.2f} |"
        for row in result["rows"]
    )
    cost = ", ".join(f"{name} {value:.3g}" for name, value in result["journal"].items())
    (RESULTS / "schedule.md").write_text(
        f"# A simulated sweep of {result['stages']:,} stages\n\n"
        f"`python benchmarks/schedule.py`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()}). "
        f"Longest path: {result['longest path [h]']:.2f} h.\n\n{head}{body}\n\nThe journal: {cost}.\n"
    )


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
