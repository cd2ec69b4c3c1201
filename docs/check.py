"""
Check the built site: each link of a page to the site has its page and its anchor, and no page loads anything from
another host.

    python -m docs.check docs/_build

Sphinx checks the links of Markdown to Markdown. This also checks those in HTML, those of the theme, and those to and
between the pages of the API, and the anchors of all.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: The attributes by which an element loads a file. Of other elements, C{href} is a link.
_LOADING = ("src", "srcset", "poster", "data")
_LOADING_BY_HREF = ("link", "image", "use", "feimage")

#: The addresses that a style sheet loads, but for those of fragments and data.
_IN_STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""")

#: The relations of C{<link>} by which a browser loads nothing.
_NOT_LOADED = {"canonical", "index", "next", "prev", "search", "author", "help", "copyright"}

#: The fragment of a link from the index of the API to a definition that another one of the same name replaces, such as
#: the getter of a property with a setter. The page of the class does not show that definition.
_REPLACED = re.compile("%20[0-9]+$")


class _Page(HTMLParser):
    """
    The links, the anchors and the loaded files of a page or of a picture.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self._isStyle = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name.removeprefix("xlink:"): value for name, value in attrs if value is not None}
        self._isStyle = tag == "style"
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.loads.update(_IN_STYLE.findall(given.get("style", "")))
        for name in _LOADING:
            if name in given:
                # A srcset has several addresses, each with a size.
                self.loads.update(each.split()[0] for each in given[name].split(",") if each.strip())
        if "href" in given:
            isLoaded = tag in _LOADING_BY_HREF and not _NOT_LOADED & set(given.get("rel", "").split())
            (self.loads if isLoaded else self.links).add(given["href"])

    def handle_data(self, data: str) -> None:
        if self._isStyle:
            self.loads.update(_IN_STYLE.findall(data))

    def handle_endtag(self, tag: str) -> None:
        self._isStyle = False

    def has(self, fragment: str) -> bool:
        """
        Whether the page has the anchor that the fragment of an address names.
        """
        return not fragment or unquote(fragment) in self.anchors or bool(_REPLACED.search(fragment))


def mistakes(site: Path) -> Iterator[str]:
    """
    Find the mistakes of a built site.

    @param site: the folder of the site.
    @return: a line for each mistake.
    """
    paths = [path for path in sorted(site.rglob("*")) if path.suffix in (".html", ".svg")]
    pages = {path: _Page(path.read_text()) for path in paths if not path.is_relative_to(site / "_downloads")}
    for path, page in pages.items():
        name = path.relative_to(site)
        for address in sorted(page.links | page.loads):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loads and parts.scheme != "data":
                    yield f"{name} loads {address}"
                continue
            # A path that begins with a slash leads out of the site, whose folder on a host is not known.
            target = path if not parts.path else Path(os.path.normpath(path.parent / unquote(parts.path)))
            target = target / "index.html" if target.is_dir() else target
            if not target.is_relative_to(site) or not target.exists():
                yield f"{name} leads to {address}, which is no page"
            elif target in pages and not pages[target].has(parts.fragment):
                yield f"{name} leads to {address}, which is no anchor"
    for path in sorted(site.rglob("*.css")):
        for address in _IN_STYLE.findall(path.read_text()):
            if urlsplit(address).netloc:
                yield f"{path.relative_to(site)} loads {address}"


def main() -> int:
    """
    Print the mistakes of the site in the folder that the command line names.

    @return: the exit status: 0 if there are none.
    """
    site = Path(sys.argv[1]).resolve()
    found = list(mistakes(site)) if (site / "index.html").exists() else [f"{site} has no built site"]
    print("\n".join(found) or "All links and anchors are there, and nothing is loaded from other hosts.")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
