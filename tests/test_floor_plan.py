"""The floor plan: imports only go down, and a floor does not import itself except inside one room."""

import ast
from pathlib import Path

SRC = Path(__file__).parents[1] / "src" / "ablatent"
FLOORS = {
    "core": 0,
    "claims": 1,
    "schedules": 1,
    "networks": 1,
    "data": 1,
    "store": 1,
    "tracking": 1,
    "conditioning": 2,
    "first_stage": 2,
    "diffusion": 2,
    "samplers": 2,
    "tasks": 3,
    "training": 3,
    "evaluation": 3,
    "interop": 3,
    "stages": 4,
    "checks": 5,
    "sweep": 5,
    "report": 5,
    "inference": 5,
    "executors": 6,
    "search": 6,
    "cli": 7,
    "build": 7,
    "__main__": 8,
    "api": 8,
}
# room → the only modules of these packages that it may import (None: any module of it)
ONLY = {
    ("conditioning", "networks"): ("ablatent.networks.blocks", "ablatent.networks.encoder"),
    ("first_stage", "networks"): ("ablatent.networks.blocks",),
    ("diffusion", "networks"): (),
    ("samplers", "networks"): (),
}
# library → the rooms, or single files, that may import it
LIBRARIES = {
    "hydra": {"cli", "core/instantiate.py"},
    "omegaconf": {"cli"},
    "wandb": {"tracking"},
    "wandb_workspaces": {"tracking"},
    "pytorch_lightning": {"training"},
    "torch_fidelity": {"evaluation"},
    "torchmetrics": {"evaluation"},
    "submitit": {"executors"},
    "matplotlib": {"report"},
    "optuna": {"search"},
    "pandas": {"api"},
    "ray": {"executors"},
}


def imports(path: Path):
    """(line, module) of every import in a file, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the full name"
            yield node.lineno, node.module


def room_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def forbidden(path: str, module: str) -> str | None:
    """Why a file (its path below src/ablatent) may not import `module`, or None."""
    room, parts = path.split("/", maxsplit=1)[0].removesuffix(".py"), module.split(".")
    if parts[0] != "ablatent":
        allowed = LIBRARIES.get(parts[0])
        there = allowed is None or room in allowed or path in allowed
        return None if there else f"{parts[0]} belongs to {sorted(allowed)}"
    other = parts[1] if len(parts) > 1 else "__init__"
    if other == room:
        return None
    if FLOORS[other] > FLOORS[room]:
        return f"{room} (floor {FLOORS[room]}) may not look up to {other} (floor {FLOORS[other]})"
    if FLOORS[other] == FLOORS[room]:
        return f"{room} and {other} stand on the same floor"
    only = ONLY.get((room, other))
    return f"of {other}, {room} may use {list(only)} only" if only is not None and module not in only else None


def test_imports_only_go_down():
    edges = []
    for path in SRC.rglob("*.py"):
        name = path.relative_to(SRC).as_posix()
        for line, module in imports(path) if name != "__init__.py" else ():
            if reason := forbidden(name, module):
                edges.append(f"{name}:{line}: imports {module}: {reason}")
    assert not edges, "\n".join(edges)


def modules() -> dict[str, set[str]]:
    """Module of the package → the modules of the package that it imports, also inside functions."""
    names = {".".join(("ablatent", *p.relative_to(SRC).with_suffix("").parts)): p for p in SRC.rglob("*.py")}
    found = {}
    for name, path in names.items():
        edges = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in names:
                submodules = {f"{node.module}.{alias.name}" for alias in node.names} & set(names)
                edges |= submodules or {node.module}
            elif isinstance(node, ast.ImportFrom) and node.module:
                edges |= {f"{node.module}.{alias.name}" for alias in node.names} & set(names)
        found[name] = edges - {name}
    return found


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty where none do."""
    left = {name: set(of) for name, of in edges.items()}
    while True:
        used = set().union(*left.values()) if left else set()
        inside = {name: of & set(left) for name, of in left.items() if of & set(left) and name in used}
        if len(inside) == len(left):
            return sorted(left)
        left = inside


def test_no_modules_import_each_other_in_a_circle():
    """Within a room too. An import inside a function counts; one for type checkers alone does not close a circle."""
    assert not circle(modules()), circle(modules())
    assert circle({"a": {"b"}, "b": {"a"}, "c": {"a"}, "d": set()}) == ["a", "b"]


def test_every_room_is_on_the_plan():
    rooms = {room_of(p) for p in SRC.rglob("*.py")} - {"__init__"}
    assert rooms == set(FLOORS)


def test_package_files_stay_empty():
    filled = [p for p in SRC.rglob("__init__.py") if p.parent != SRC and p.read_text().strip()]
    assert not filled, f"__init__.py must stay empty: {filled}"


def test_the_plugin_namespace_stays_open():
    assert not (SRC.parent / "hydra_plugins" / "__init__.py").exists(), "it would hide every other Hydra plugin"


LINES, LONGER = 300, "Longer than 300 lines: "
"""The bound of a module, and how the line of its docstring begins that gives the reason of one beyond it."""


def wrong_length(text: str) -> str | None:
    """What is wrong with the length of a module, None where it fits: beyond the bound the docstring gives a reason."""
    docstring = ast.get_docstring(ast.parse(text)) or ""
    reasons = [line.removeprefix(LONGER) for line in docstring.splitlines() if line.startswith(LONGER)]
    lines = len(text.splitlines())
    if lines > LINES and not any(reasons):
        return f"{lines} lines: split it where it has a seam, or give the reason in its docstring, '{LONGER}…'"
    return f"{lines} lines: it needs no reason any more" if lines <= LINES and reasons else None


def test_modules_have_300_lines_at_most_or_a_reason():
    found = {path.relative_to(SRC.parent): wrong_length(path.read_text()) for path in SRC.parent.rglob("*.py")}
    assert not any(found.values()), "\n".join(f"{name}: {text}" for name, text in found.items() if text)
    long = "x = 1\n" * LINES
    assert wrong_length(long) is None and wrong_length(long + "y = 2\n") is not None
    reason = f'"""A table.\n\n{LONGER}one row a network.\n"""\n'
    assert wrong_length(reason + long) is None and wrong_length(reason) is not None


def test_the_plan_can_fail():
    assert forbidden("samplers/ddim.py", "ablatent.networks.unet")
    assert forbidden("core/files.py", "hydra") and not forbidden("core/instantiate.py", "hydra")
    assert forbidden("samplers/ddim.py", "ablatent.diffusion.loss")
    assert forbidden("first_stage/kl.py", "ablatent.networks.unet")
    assert not forbidden("first_stage/kl.py", "ablatent.networks.blocks")
    assert forbidden("report/page.py", "ablatent.sweep.plan")


def test_no_print_and_no_assert():
    found = []
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            if called or isinstance(node, ast.Assert):
                found.append(f"{path.relative_to(SRC)}:{node.lineno}")
    assert not found, found


# Strings that are the name of a class of ours and mean something else: labels of scores, a heading, a folder of files.
WORDS = {("evaluation", "FID"), ("evaluation", "KID"), ("report", "Latents"), ("data", "FashionMNIST")}
# … and the names that the package itself offers, which are imported when they are used.
WORDS |= {("__init__", name) for name in ("AblatentError", "Pipeline", "SweepHandle")}


def own_classes() -> set[str]:
    """The names of all classes that are defined in the package."""
    trees = [ast.parse(path.read_text()) for path in SRC.rglob("*.py")]
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def plain_strings(tree: ast.AST):
    """String constants that are no docstrings, annotations or bounds of type variables."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        apart = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "TypeVar":
            apart.append(node)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            apart.append(node.value)
        skipped.update(inner for part in apart if part is not None for inner in ast.walk(part))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            yield node


def class_names_in(source: str, classes: set[str]) -> list[tuple[int, str]]:
    """(line, string) of strings that are the name of one of the classes, or its path in the package."""
    found = []
    for node in plain_strings(ast.parse(source)):
        module, _, name = node.value.rpartition(".")
        if name in classes and (not module or module.startswith("ablatent.")):
            found.append((node.lineno, node.value))
    return sorted(found)


def test_no_class_names_as_strings():
    """Who renames or moves a class does not find the strings that name it."""
    classes, found = own_classes(), []
    for path in SRC.rglob("*.py"):
        room = room_of(path)
        for line, text in class_names_in(path.read_text(), classes):
            if (room, text) not in WORDS:
                found.append(
                    f"{path.relative_to(SRC)}:{line}: {text!r}; use the class and its __name__, or pass values"
                )
    assert not found, "\n".join(found)


def test_class_names_as_strings_are_found():
    lines = [
        '"""UNet."""',
        'def f(x: "UNet") -> "UNet":',
        '    """UNet"""',
        '    return "UNet", "ablatent.a.UNet", "a.UNet"',
    ]
    assert class_names_in("\n".join(lines), {"UNet"}) == [(4, "UNet"), (4, "ablatent.a.UNet")]
