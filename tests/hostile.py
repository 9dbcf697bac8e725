"""Texts that some format would take for more than text, and readers that tell."""

from html.parser import HTMLParser

from markdown_it import MarkdownIt

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "[red]",
    "[/red] [link=http://x]a[/link]",
    "=cmd|' /C calc'!A0",
    "+1+1|x",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "..%2f..%2fetc",
    "${oc.env:HOME} $x^{2$",
    "a|b `c` **d** _e_ ~~f~~ ![g](h) <!-- i --> &lt; \\| \\",
    "```\n# heading\n```",
    "first\nsecond\r\n- third",
    "# one",
    "1. two",
    "--- three",
    ":cat: \x1b[31mred\x07",
]


class Elements(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(markdown: str) -> Elements:
    """Markdown as GitHub shows it: with tables and raw HTML."""
    return Elements(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))
