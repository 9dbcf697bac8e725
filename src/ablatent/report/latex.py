"""Tables of a report for papers: LaTeX with booktabs."""

import re

from ablatent.core.escape import for_latex
from ablatent.report.tables import Cell, TableData

NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)(?: ± (\d+(?:\.\d+)?))?")


def latex_table(table: TableData) -> str:
    """A tabular, to \\input into a table: the best value of a column bold, footnotes below. Preamble: booktabs."""
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{'l' * table.left}{'r' * (len(table.columns) - table.left)}}}",
        "\\toprule",
        _row([for_latex(c) for c in table.columns]),
        "\\midrule",
        *(_row([_cell(c) for c in row]) for row in table.rows),
    ]
    lines.append("\\bottomrule")
    for n, note in enumerate(table.notes, 1):
        span = f"\\multicolumn{{{len(table.columns)}}}{{l}}"
        lines.append(f"{span}{{\\footnotesize \\textsuperscript{{{n}}} {for_latex(note)}}} \\\\")
    lines.append("\\end{tabular}")
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _cell(cell: Cell) -> str:
    found = NUMBER.fullmatch(cell.text)
    if found:
        text = found[1] + (f" \\pm {found[2]}" if found[2] else "")
        text = f"$\\mathbf{{{text}}}$" if cell.best else f"${text}$"
    else:
        text = f"\\textbf{{{for_latex(cell.text)}}}" if cell.best and cell.text else for_latex(cell.text)
    return text + (f"\\textsuperscript{{{','.join(map(str, cell.notes))}}}" if cell.notes else "")
