"""docs/claims.md: the claims of ablations of latent diffusion, those that experiments test, and what was found.

python -m ablatent.cli.claims_page > docs/claims.md
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablatent.cli.generated_page import recorded_claims, table
from ablatent.core.options import conf_folder, read_yaml

HEAD = """# Claims

What papers claim of latent diffusion and its parts, by the letters of this project, and the experiments that test it at
a small scale. A claim is a section of an experiment; its verdict is computed from the store
([verdicts.md](verdicts.md)): here that of the results in `experiments/results`, "not run" where these have none. A
verdict is on the data, sizes and lengths of the experiment, not on those of the paper. Written by
`python -m ablatent.cli.claims_page` from `experiments/*.yaml` and the recorded verdicts; a test compares.
"""
LETTERS = {
    "A": (
        "VQ-regularised latents give better samples than KL-regularised ones, and slightly worse reconstructions",
        "Rombach et al. 2022, sections 3.1, 4.1, tables 6, 8",
    ),
    "B": (
        "Downsampling by 4 to 8 is best: less learns slowly, 32 stagnates",
        "Rombach et al. 2022, section 4.1, figure 6",
    ),
    "C": (
        "At equal quality latents are sampled many times faster than pixels",
        "Rombach et al. 2022, section 4.1, figure 7",
    ),
    "D": ("A stronger compression costs fidelity, and so does a codebook", "Rombach et al. 2022, table 8"),
    "E": (
        "Guidance without a classifier trades diversity for fidelity to the condition",
        "Ho & Salimans 2022; Rombach et al. 2022, tables 2, 3",
    ),
    "F": (
        "DDIM needs far fewer steps than DDPM, and more noise hurts at few steps",
        "Song et al. 2021, table 1",
    ),
    "G": (
        "From one noise, DDIM gives the same image at any number of steps, and arcs of noise interpolate",
        "Song et al. 2021, section 5",
    ),
    "H": (
        "With the linear schedule the noisiest fifth of the reverse process can be skipped, with the cosine one not",
        "Nichol & Dhariwal 2021, figure 4",
    ),
    "I": (
        "Cross-attention conditions on text and boxes; concatenation on semantic maps, small and masked images",
        "Rombach et al. 2022, sections 3.3, 4.3 to 4.5",
    ),
    "J": (
        "Rescaling latents to unit variance matters, mostly for KL",
        "Rombach et al. 2022, appendix D.1, figure 15",
    ),
}
"""Letter → what is claimed, and where."""
NOT_RUN = "not run"


def page() -> str:
    """The whole page, in Markdown."""
    root = conf_folder().parent
    found = sorted(rows(root), key=lambda row: (row["id"] or "~", row["experiment"], row["name"]))
    letters = []
    for letter, (text, source) in LETTERS.items():
        names = dict.fromkeys(f"`{row['experiment']}`" for row in found if row["id"] == letter)
        letters.append([letter, text, source, ", ".join(names) or "none"])
    listed = [
        [row["id"] or "", row["name"], row["statement"], row["source"], f"`{row['experiment']}`", row["verdict"]]
        for row in found
    ]
    return "\n".join(
        [
            HEAD,
            "## As papers state them\n",
            table(["", "claim", "source", "experiments"], letters),
            "## As experiments test them\n",
            table(["", "name", "statement", "source", "experiment", "verdict"], listed),
        ]
    )


def rows(root: Path) -> Iterator[dict[str, Any]]:
    """Every claim of every experiment, with its verdict. root: the folder with experiments/."""
    for file in sorted((root / "experiments").glob("*.yaml")):
        recorded = recorded_claims(file.parent / "results" / file.stem)
        for name, node in (read_yaml(file).get("claims") or {}).items():
            verdict = (recorded.get(name) or {}).get("verdict", NOT_RUN)
            yield {"id": None, **node, "name": name, "experiment": file.stem, "verdict": verdict}


if __name__ == "__main__":
    sys.stdout.write(page())
