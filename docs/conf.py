"""The site of `make docs`: Sphinx reads the Markdown pages where they lie, from the root down."""

import re
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from docs.made.pages import made  # noqa: E402

project, author, copyright = "btgm", "the authors of btgm", "Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "experiments/*/README.md"]
exclude_patterns = [".*", "build", "conf", "dist", "outputs", "src", "tests"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
default_role = "py:obj"  # what stands between backticks in a docstring
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "btgm"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_additional_pages = {"index": "index.html"}
templates_path = ["."]


def mathml(display: str) -> tuple:
    """How a formula is written: as MathML, which browsers draw without a script."""

    def visit(self: HTML5Translator, node: nodes.Element) -> None:
        formula = convert(node.astext(), display=display)
        self.body.append(
            f'<div class="formula">{formula}</div>' if display == "block" else formula
        )
        raise nodes.SkipNode

    return visit, None


def add_what_is_made(app: Sphinx, page: str, source: list[str]) -> None:
    """The part of a page that is made from the code and the configuration."""
    source[0] += made(f"{page}.md")


def shapes_as_they_are(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """The star in a shape such as (n, *X) starts no emphasis."""
    lines[:] = [re.sub(r"(?<=, )\*(?=[A-Z]\))", r"\\*", line) for line in lines]


def protocols_take_nothing(
    app: Sphinx, what: str, name: str, obj: object, options: object, args: str, returns: str
) -> tuple[str, str] | None:
    """What others must have is not called with arguments."""
    return ("", "") if getattr(obj, "_is_protocol", False) else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", mathml("inline"), mathml("block"))
    app.connect("source-read", add_what_is_made)
    app.connect("autodoc-process-docstring", shapes_as_they_are)
    app.connect("autodoc-process-signature", protocols_take_nothing)
