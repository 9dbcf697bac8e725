"""The report as one HTML file that needs no network: style inline, images as data URIs."""

import base64
import re
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from ablatent.report.page import JUDGES, LATENTS, Page
from ablatent.report.verdict_text import remarks, rule, table, titled


def data_uri(png: bytes) -> str:
    """A PNG file as the source of an <img>."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def breakable(text: str) -> Markup:
    """Escaped text that may go on in a new line after . _ = / @ and before a bracket: names of keys have no spaces."""
    return Markup(re.sub(r"([._=/@])(?=[^\W\d])|(?<=\w)(?=\()", r"\1<wbr>", str(escape(text))))


def fill(template: str, **values: object) -> str:
    """A template of templates/ with these values; every text in them is escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_source)
    )
    environment.filters |= {"uri": data_uri, "breakable": breakable, "remarks": remarks, "titled": titled}
    return environment.get_template(template).render(**values)


def _source(template: str) -> str:
    return resources.files("ablatent.report").joinpath("templates", template).read_text(encoding="utf-8")


def render(page: Page) -> str:
    """The whole page; every text from the store is escaped."""
    about = {"about_latents": LATENTS, "about_judges": JUDGES}
    verdicts = {"verdict_table": table(page.verdicts), "verdict_rule": rule(page.verdicts)}
    return fill("report.html.j2", page=page, sweep=page.sweep, **about, **verdicts)
