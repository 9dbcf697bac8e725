"""The report as one HTML file that needs no network: style and script inline, images as data URIs."""

import base64
import hashlib
import re
from functools import cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from ablatent.core.escape import for_script
from ablatent.report.charts import Chart, as_json
from ablatent.report.images import AMPLIFIED
from ablatent.report.page import JUDGES, LATENTS, Page
from ablatent.report.verdict_text import remarks, rule, table, titled


def data_uri(png: bytes) -> str:
    """A PNG file as the source of an <img>."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def breakable(text: str) -> Markup:
    """Escaped text that may go on in a new line after . _ = / @ and before a bracket: names of keys have no spaces."""
    return Markup(re.sub(r"([._=/@])(?=[^\W\d])|(?<=\w)(?=\()", r"\1<wbr>", str(escape(text))))


def chart_json(chart: Chart) -> Markup:
    """The content of a chart, for a <script> that is not run."""
    return Markup(for_script(as_json(chart)))


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_source)
    )
    environment.filters |= {"uri": data_uri, "breakable": breakable, "chart_json": chart_json}
    environment.filters |= {"remarks": remarks, "titled": titled}
    script = (_source("charts.js") or "").strip()
    # the only script that a browser runs here, whatever text comes into the page
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {
        "style": Markup((_source("style.css") or "").strip()),
        "script": Markup(script),
        "script_digest": f"sha256-{digest}",
    }
    return environment


def fill(template: str, **values: object) -> str:
    """A template of templates/ with these values; every text in them is escaped."""
    return _environment().get_template(template).render(**values)


def _source(template: str) -> str | None:
    """The text of a file of templates/; None where there is none."""
    path = resources.files("ablatent.report").joinpath("templates", template)
    return path.read_text(encoding="utf-8") if path.is_file() else None


def render(page: Page) -> str:
    """The whole page; every text from the store is escaped."""
    about = {"about_latents": LATENTS, "about_judges": JUDGES, "amplified": AMPLIFIED}
    verdicts = {"verdict_table": table(page.verdicts), "verdict_rule": rule(page.verdicts)}
    return fill("report.html.j2", page=page, sweep=page.sweep, **about, **verdicts)
