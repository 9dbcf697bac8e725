"""The table of kinds: what it finds, what the others must not repeat, and what belongs to the code of a build."""

import ast
import importlib

import pytest

from ablatent.core.errors import ConfigError
from ablatent.stages.all_kinds import built_in, kinds_of, ordered
from ablatent.stages.kind_base import JobGraph, StageKind
from ablatent.stages.stage import Stage
from ablatent.store import code
from ablatent.store.identity import Key
from commands import ROOT

SRC = ROOT / "src" / "ablatent"
KINDS = built_in()
NAMES = {kind.name for kind in KINDS}


def test_a_folder_is_a_kind_and_a_kind_is_a_folder():
    folders = {p.parent.name for p in (SRC / "stages").glob("*/__init__.py")}
    assert folders == NAMES and len(KINDS) == len(NAMES)
    for kind in KINDS:
        assert callable(importlib.import_module(kind.builder).build), kind.name
        assert set(kind.reads) <= NAMES, kind.name
        assert type(kind).__module__ == f"ablatent.stages.{kind.name}.kind"
    places = {kind.name: n for n, kind in enumerate(KINDS)}
    assert all(places[read] < places[kind.name] for kind in KINDS for read in kind.reads)


def modules_of(builder: str) -> set[str]:
    """Every module whose code is in the digest of a build."""
    seen: dict[str, tuple[str, tuple[str, ...]]] = {}
    todo = [builder]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen[name] = code._module(name)
            todo.extend(seen[name][1])
    return {name for name, (digest, _) in seen.items() if digest}


# What may be edited without building anything again: kinds, checks, costs, the planner and all above it.
APART = (
    "kind",
    "check",
    "all_kinds",
    "kind_base",
    "graph",
    "options",
    "check_helpers",
    "check_sampling",
    "step_memory",
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_kinds_checks_costs_and_the_planner_are_no_part_of_a_builds_code(kind):
    found = modules_of(kind.builder)
    assert kind.builder in found and "ablatent.stages.context" in found
    rooms = {name for name in found if name.split(".")[1] in ("sweep", "report", "inference", "cli")}
    assert not rooms and not {n for n in found if n.startswith("ablatent.stages.") and n.split(".")[-1] in APART}


def collections_of_names(tree: ast.AST):
    """(line, names of kinds) of every list, tuple, set or dictionary that has three or more of them."""
    for node in ast.walk(tree):
        items = node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else getattr(node, "keys", [])
        names = {i.value for i in items if isinstance(i, ast.Constant) and i.value in NAMES} if items else set()
        if len(names) > 2:
            yield node.lineno, sorted(names)


def test_no_list_of_kinds_outside_the_table():
    """A kind says itself which others it reads; groups of conf/ that share a name with a kind are no such list."""
    found = [
        f"{path.relative_to(SRC)}:{line}: {names}"
        for path in SRC.rglob("*.py")
        if path.name != "kind.py"
        for line, names in collections_of_names(ast.parse(path.read_text()))
    ]
    assert not found, found
    assert list(collections_of_names(ast.parse("x = ('latents', 'diffusion', 'scores')")))


class Other(StageKind):
    name = "other"

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        return {self.name: self.stage({"seed": 0})}


class Taken(Other):
    name = "samples"


class First(Other):
    name, reads = "first", ("second",)


class Second(Other):
    name, reads = "second", ("first",)


def node(kind: type[StageKind]) -> dict[str, str]:
    return {"_target_": f"{kind.__module__}.{kind.__name__}"}


def test_a_kind_of_the_configuration_stands_in_the_table():
    assert [kind.name for kind in kinds_of({"stages": {}})] == [kind.name for kind in KINDS]
    added = kinds_of({"stages": {"mine": node(Other)}})
    assert {kind.name for kind in added} - NAMES == {"other"}
    (stage,) = Other().stages(None).values()
    assert stage.builder == __name__ and stage.key.startswith("other-")
    with pytest.raises(ConfigError, match=r"stages: .*'samples'"):
        kinds_of({"stages": {"mine": node(Taken)}})
    with pytest.raises(ConfigError, match="in a circle"):
        list(ordered([First(), Second()]))


def test_a_stage_is_the_same_after_its_way_through_json():
    stage = KINDS[0].stage({"a": 1}, {"first_stage": Key("first_stage-1")}, {"images": "x"}, {"_target_": "mine.Data"})
    assert Stage.of(stage.spec()) == stage and Stage.of(stage.spec()).inputs["first_stage"].kind == "first_stage"
