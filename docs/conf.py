"""
The settings of Sphinx for the site: C{make docs} builds it.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

_ROOT = Path(__file__).parents[1]

project = "txtuntap"
copyright = "the txtuntap authors"
extensions = ["myst_parser", "sphinx.ext.intersphinx", "pydoctor.sphinx_ext.build_apidocs"]
exclude_patterns = ["_build"]
html_theme = "furo"
# The dark style of furo underlines names of modules and classes, as if they were links.
pygments_dark_style = "github-dark"
html_title = "txtuntap"
html_copy_source = False
html_show_sphinx = False
html_favicon = "../txtuntap/service/observe/page/static/icon.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"source_edit_link": ""}

# No page of the reference links to another project: the inventories are on other hosts.
intersphinx_mapping: dict[str, tuple[str, None]] = {}

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4

#: Objects of twisted.pair, which are imported in one module. pydoctor looks for them there.
_FOREIGN = re.compile(r'Interface "txtuntap\.interfaces\.I(Ethernet|RawPacket|RawDatagram)Protocol" not found')


def _isOurs(record: logging.LogRecord) -> bool:
    return _FOREIGN.search(record.getMessage()) is None


logging.getLogger("sphinx.pydoctor.sphinx_ext.build_apidocs").addFilter(_isOurs)

pydoctor_args = [
    "--project-name=txtuntap",
    # The way back from the reference to the other pages.
    "--project-url=../index.html",
    f"--project-base-dir={_ROOT}",
    f"--template-dir={_ROOT / 'docs' / 'pydoctor'}",
    "--docformat=epytext",
    "--html-output={outdir}/api",
    str(_ROOT / "txtuntap"),
]
pydoctor_url_path = "/api"
