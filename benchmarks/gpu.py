"""Everything that needs a GPU to be seen, in one command of at most nine minutes, without network.

`python benchmarks/gpu.py` writes benchmarks/results/gpu.json and gpu.md; where there is no GPU it says so and ends
with code 0. Each part runs in a process of its own (`gpu_parts.py`), which is stopped when its time is over; a part
for which no time is left is named as skipped. `--device cpu` rehearses every part at small sizes, and writes to a
temporary folder unless `--out` names another: its numbers say nothing about a GPU.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "machine": (10, 60),
    "steps": (25, 90),
    "ddp": (20, 90),
    "demo": (40, 150),
    "speed": (40, 150),
    "diffusers": (30, 90),
    "paper": (30, 240),
}
"""name → seconds that must be left for a part to begin, and the most that it may take."""


def main() -> int:
    """Run the parts; 0 also where there is no GPU, 1 where a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts together")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), help="these parts alone")
    parser.add_argument("--out", type=Path, help="folder of gpu.json and gpu.md")
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes - 5  # and five seconds to write
    if given.device == "cuda" and not _has_gpu():
        print("No GPU here: nothing was measured. --device cpu rehearses.")
        return 0
    out = given.out or (ROOT / "benchmarks" / "results" if given.device == "cuda" else Path(tempfile.mkdtemp()))
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    for name in given.only:
        left = end - time.monotonic()
        least, most = PARTS[name]
        began = time.monotonic()
        if left < least:
            results[name] = {"skipped": f"{left:.0f} s were left, it needs {least}"}
        else:
            results[name] = _run(name, given.device, min(left, most))
        results[name]["wall_seconds"] = round(time.monotonic() - began, 1)
        outcome = next((f"{k}: {results[name][k]}" for k in ("failed", "skipped") if k in results[name]), "done")
        print(f"{name}: {outcome} ({results[name]['wall_seconds']} s)", flush=True)
        (out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "gpu.md").write_text(_markdown(results))
    print(f"→ {out}/gpu.json, gpu.md")
    return int(any("failed" in result for result in results.values()))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _run(name: str, device: str, seconds: float) -> dict[str, Any]:
    """What a part gave; with `failed` where it broke or took too long, with what it had until then."""
    with tempfile.TemporaryDirectory(prefix="ablatent-gpu-", ignore_cleanup_errors=True) as scratch:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                str(ROOT / p) for p in ("src", "benchmarks", "tests", "tests/training")
            ),
            "WANDB_MODE": "offline",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }  # fmt: skip
        command = [
            sys.executable,
            str(ROOT / "benchmarks" / "gpu_parts.py"),
            name,
            device,
            f"{seconds - 3:.0f}",
            scratch,
        ]
        log, result = Path(scratch) / "log.txt", Path(scratch) / "result.json"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=scratch, env=environment, stdout=file, stderr=file, start_new_session=True
            )
            failed = None
            try:
                if process.wait(timeout=seconds):
                    failed = log.read_text(errors="replace").strip()[-1500:]
            except subprocess.TimeoutExpired:
                failed = f"stopped after {seconds:.0f} s"
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it had started
            process.wait()
        found: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {}
    return found if failed is None else {**found, "failed": failed}


def _markdown(results: dict[str, Any]) -> str:
    """All numbers as tables, a part each."""
    lines = ["# On a GPU", "", "Written by `python benchmarks/gpu.py`.", ""]
    for name, result in results.items():
        lines += [f"## {name}", ""]
        for key, value in result.items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                columns = list(dict.fromkeys(column for row in value for column in row))
                lines += ["", f"{key}:", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
                lines += ["| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in value]
                lines.append("")
            else:
                lines.append(f"* {key}: {value}")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
