"""The drawings of docs: python docs/images/draw.py writes stages.svg and floor_plan.svg anew; a test compares.

Both are drawn from what holds: the kinds of stages with what they read, and the floors of tests/test_floor_plan.py.
"""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

from ablatent.stages.all_kinds import built_in

HERE = Path(__file__).parent
STYLE = """<style>
text { font: 14px sans-serif; fill: #222 } .small { font-size: 12px; fill: #555 }
rect { fill: #eef2f7; stroke: #5b6b80 } .sometimes { stroke-dasharray: 4 3 } .floor { fill: none; stroke: #b8c2cf }
path { fill: none; stroke: #5b6b80 }
@media (prefers-color-scheme: dark) {
text { fill: #e8e8e8 } .small { fill: #aaa }
rect { fill: #2b3442; stroke: #8fa0b8 } .floor { fill: none; stroke: #4a5568 }
path { stroke: #8fa0b8 } }
</style>"""
ALWAYS = {"data", "first_stage", "latents", "diffusion", "samples", "scores", "reference", "reconstruction"}
"""What an unconditional model that is sampled and scored has; other kinds come with options and are dashed."""
PLACES = {
    **{"data": (0, 2.5), "embeddings": (1, 0), "first_stage": (1, 1.5), "reference": (1, 3.5), "judge": (1, 5)},
    **{"latents": (2, 1.5), "reconstruction": (2, 2.75), "diffusion": (3, 0.75), "noisy_classifier": (3, 1.75)},
    **{"task": (4, 0.25), "samples": (4, 2), "restoration": (5, 0.25), "scores": (5, 3), "agreement": (5, 4.25)},
}
"""Kind → column and row."""
WIDTH, HEIGHT, ACROSS, DOWN = 122, 34, 160, 58


def drawn(width: float, height: float, parts: Sequence[str]) -> str:
    """A whole SVG file."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">'
    return "\n".join([head, STYLE, *parts, "</svg>", ""])


def box(x: float, y: float, width: float, text: str, css: str = "") -> str:
    """A rectangle with its name in the middle."""
    rect = f'<rect class="{css}" x="{x:g}" y="{y:g}" width="{width:g}" height="{HEIGHT}" rx="5"/>'
    return f'{rect}<text x="{x + width / 2:g}" y="{y + 22:g}" text-anchor="middle">{text}</text>'


def direct(reads: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Of what each kind reads, what none of its other inputs reads already: the arrows that tell something."""

    def below(name: str) -> set[str]:
        return {name}.union(*(below(n) for n in reads[name]))

    return {
        name: [n for n in read if not any(n in below(other) for other in read if other != n)]
        for name, read in reads.items()
    }


def stages() -> str:
    """The graph of the kinds of stages."""
    kinds = {kind.name: tuple(kind.reads) or ("data",) for kind in built_in() if kind.name != "imported"}
    reads: dict[str, Sequence[str]] = {"data": (), **kinds}
    place = {name: (10 + column * ACROSS, 10 + row * DOWN) for name, (column, row) in PLACES.items()}
    parts = []
    for name, inputs in direct(reads).items():
        x1, y1 = place[name]
        for other in dict.fromkeys(inputs):
            x0, y0 = place[other][0] + WIDTH, place[other][1] + HEIGHT / 2
            middle = (x0 + x1) / 2
            css = "" if {name, other} <= ALWAYS else "sometimes"
            curve = f"M{x0:g} {y0:g}C{middle:g} {y0:g} {middle:g} {y1 + HEIGHT / 2:g} {x1:g} {y1 + HEIGHT / 2:g}"
            parts.append(f'<path class="{css}" d="{curve}"/>')
    parts += [box(*place[name], WIDTH, name, "" if name in ALWAYS else "sometimes") for name in reads]
    note = "From left to right: each stage reads those it is joined to. Dashed: where options ask for it."
    parts.append(f'<text class="small" x="10" y="{10 + 6 * DOWN:g}">{note}</text>')
    return drawn(20 + 5 * ACROSS + WIDTH, 20 + 6 * DOWN, parts)


def floors() -> dict[int, list[str]]:
    """Floor → rooms, of tests/test_floor_plan.py."""
    tree = ast.parse((HERE.parents[1] / "tests" / "test_floor_plan.py").read_text())
    values = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "FLOORS"]
    plan: dict[str, int] = ast.literal_eval(values[0])
    return {floor: [room for room in plan if plan[room] == floor] for floor in sorted(set(plan.values()))}


def floor_plan() -> str:
    """The rooms of src/ablatent by floors, the highest above."""
    plan, parts, width, gap = floors(), list[str](), 104, 8
    inner = max(map(len, plan.values())) * (width + gap) + gap
    for row, floor in enumerate(sorted(plan, reverse=True)):
        y = 10 + row * (HEIGHT + 22)
        parts.append(f'<rect class="floor" x="70" y="{y}" width="{inner}" height="{HEIGHT + 14}"/>')
        parts.append(f'<text class="small" x="10" y="{y + 29}">floor {floor}</text>')
        parts += [box(70 + gap + i * (width + gap), y + 7, width, room) for i, room in enumerate(plan[floor])]
    bottom = 10 + len(plan) * (HEIGHT + 22)
    parts.append(f'<text class="small" x="70" y="{bottom + 12}">A room imports from lower floors and itself.</text>')
    return drawn(80 + inner, bottom + 24, parts)


if __name__ == "__main__":
    for drawing in (stages, floor_plan):
        (HERE / f"{drawing.__name__}.svg").write_text(drawing())
