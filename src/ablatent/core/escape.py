"""Text of users and of data, written so that it shows as it is: one function for each format. Free of torch.

Titles, questions, prompts, captions, names of classes, jobs and files come from anywhere. A writer of a format calls
the function of that format on each of them. HTML is the exception: report/html.py has jinja escape all that it prints.
"""

import re

from rich.markup import escape

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that move cursors and recolour terminals; tabs and ends of lines are none of them."""
INLINE = re.compile(r"[\\`*\[\]|~$<>]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")
ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
BLOCK = re.compile(r"^(\d*)([#+\-=:.)])(?=[\s#=\-]|$)")
"""The beginning of a heading, a list, a rule."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"},
    **{"`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "*": "{*}"},  # brackets and stars are options after a row
    **{"↓": r"$\downarrow$", "↑": r"$\uparrow$", "±": r"$\pm$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$"},
    **{"∞": r"$\infty$", "²": r"\textsuperscript{2}", "°": r"\textdegree{}"},
    **{"–": r"\textendash{}", "—": r"\textemdash{}", "…": r"\dots{}", "·": r"$\cdot$", "−": "$-$"},
}
LIGATURE = re.compile("([-',])(?=\\1)")
"""Of LaTeX: two of these would become another sign."""
SCRIPT = re.compile("[<>&\u2028\u2029]")
OUTSIDE_NAMES = re.compile(r"[^\w.=@+-]")
NAME_LENGTH = 120  # most file systems take 255 bytes


def one_line(text: str) -> str:
    """The text with every run of white space as one space, and control characters as \\x1b."""
    return CONTROL.sub(_visible, " ".join(text.split()))


def for_console(text: object) -> str:
    """For `console.print`: no markup of rich, no control characters for the terminal. Ends of lines stay."""
    return escape(CONTROL.sub(_visible, str(text).replace("\r\n", "\n")))


def for_markdown(text: str) -> str:
    """One line of Markdown, in a paragraph, a cell of a table or the text of a link: no markup, HTML, formula."""
    line = INLINE.sub(lambda m: ENTITIES.get(m[0], f"\\{m[0]}"), one_line(text))
    return BLOCK.sub(r"\1\\\2", line)


def fenced(text: str) -> str:
    """A block of code in Markdown, by a fence that the text does not have."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text) or [""]))
    return f"{fence}\n{text}\n{fence}"


def for_csv(text: str) -> str:
    """A cell of a CSV file: an apostrophe before what spreadsheets take for a formula; numbers stay."""
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(FORMULA) else text
    return text


def for_figure(text: str) -> str:
    """A title or label in matplotlib: one line, whose dollars begin no formula."""
    return one_line(text).replace("$", r"\$")


def for_latex(text: str) -> str:
    """One line of LaTeX text: no command, no group, no comment; arrows, ± and the like as mathematics."""
    return "".join(LATEX.get(c, c) for c in LIGATURE.sub("\\1\0", one_line(text))).replace("\0", "{}")


def for_script(json_text: str) -> str:
    """JSON inside a <script> element: the same value, in which no tag, comment or entity can begin."""
    return SCRIPT.sub(lambda m: f"\\u{ord(m[0]):04x}", json_text)


def file_name(text: str) -> str:
    """A name that stays in its folder on every system: letters, digits and . _ = @ + - alone, no dot at the start."""
    return OUTSIDE_NAMES.sub("_", text).lstrip(".")[:NAME_LENGTH] or "_"


def _visible(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"
