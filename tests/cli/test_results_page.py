"""docs/results.md says what the reports in experiments/results say."""

import json
from pathlib import Path

from ablatent.cli.generated_page import results_folder
from ablatent.cli.results_page import page, results
from commands import ROOT

REPORT = """# A title

Is a | b?

2 jobs: 2 finished · 4 stages: 4 built, 0 found

Sweep 20261129-162003-8cef, 2026-11-29T16:20:03+0000

## Cost

This sweep built for 1m. All its stages took 1h02m to build; with every job building its own they would have taken 3h.

| stage | distinct | built | found | uses by jobs | time | time without sharing |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| diffusion | 6 | 6 | 0 | 18 | 11m13s | 1h07m |
| samples | 18 | 18 | 0 | 18 | 2m44s | 2m44s |

| fact | value | stages that say so |
| --- | --- | --- |
| code of diffusion | b77ad0a62c13… | all 6 |
| host: device | cpu | all 63 |
| host: processor | AMD | 20: samples-060a |
| host: processor | Intel | 43: samples-060b |
| host: threads | 2 | all 63 |
"""
CONTRAST = {
    "metric": "fid",
    "effect": 0.123456,
    "interval": [-1.0, 2.5],
    "scale": "difference",
    "verdict": "inconclusive",
}
CLAIMS = {
    "a": {
        "id": "A",
        "verdict": "inconclusive",
        "contrasts": {
            "one": CONTRAST,
            "two": {**CONTRAST, "scale": "ratio", "effect": 0.5, "interval": None},
            "three": {**CONTRAST, "effect": None, "interval": None, "verdict": "not tested"},
        },
    }
}


def test_the_page_is_as_the_reports_say() -> None:
    written = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert written == page(), "write it again: python -m ablatent.cli.results_page > docs/results.md"
    names = [result.name for result in results(results_folder())]
    assert names == sorted(path.parent.name for path in results_folder().glob("*/report.md")) and len(names) > 2
    assert all((results_folder() / name / "report.md").is_file() for name in names)


def test_a_row_of_a_report(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.md").write_text(REPORT)
    (tmp_path / "a" / "verdicts.json").write_text(json.dumps({"claims": CLAIMS}))
    (tmp_path / "without a report").mkdir()
    first, second = page(tmp_path).splitlines()[-2:]
    verdicts = (
        "**A a: inconclusive**<br>one: fid +0.123 [-1, 2.5], inconclusive<br>two: fid ×0.5, inconclusive"
        "<br>three: fid –, not tested"
    )
    rest = "6 diffusion | 1h02m | 2026-11-29 | AMD or Intel (cpu, 2 threads) |"
    assert first == rf"| [a](../experiments/results/a/report.md) | Is a \| b? | {verdicts} | {rest}"
    assert second == rf"| [b](../experiments/results/b/report.md) | Is a \| b? | – | {rest}"
