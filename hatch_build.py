"""
The metadata of the distribution that depend on where the repository is: its links, and the published description.

The address is one setting, C{repository} in C{pyproject.toml}, such as C{"https://github.com/OWNER/NAME"}. While it is
empty, the distribution names no links, and the description has the text of README.md without its relative links, which
lead nowhere outside of the repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: A link or an image of Markdown: the exclamation mark of an image, the text, and the target.
_LINK = r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)"

#: The same, or code, which has no links: a fenced block, a line of an indented block, or code in a line.
_LINK_OR_CODE = re.compile(rf"^```[\s\S]*?^```|^ {{4}}.*$|`[^`]+`|{_LINK}", re.MULTILINE)

#: The paths below the address, as GitHub has them, by the names of links that a package index knows.
_URLS = {
    "Source": "/tree/{tag}",
    "Documentation": "/tree/{tag}/docs",
    "Changelog": "/blob/{tag}/CHANGES.md",
    "Issues": "/issues",
    "Security": "/blob/{tag}/SECURITY.md",
}


def urls(repository: str, version: str) -> dict[str, str]:
    """
    Make the table C{project.urls}. Its links lead to the tag of a version, which has the version's name.
    """
    return {name: repository + path.format(tag=version) for name, path in _URLS.items() if repository}


def description(text: str, repository: str, version: str) -> str:
    """
    Make the links of a text in Markdown absolute, or, without an address, replace each relative link by its text. A
    picture is replaced by its alternative text.
    """

    def linked(found: re.Match[str]) -> str:
        image, words, target = found.groups()
        if target is None:
            return found[0]
        # The text of a link may be a picture, which has a link of its own.
        words = _LINK_OR_CODE.sub(linked, words)
        if re.match(r"[a-z]+:", target):
            return f"{image}[{words}]({target})"
        if not repository or target.startswith("#"):
            # A package index gives the headings of a description no anchors.
            return str(words)
        return f"{image}[{words}]({repository}/{'raw' if image else 'blob'}/{version}/{target})"

    return _LINK_OR_CODE.sub(linked, text)


class DescriptionHook(MetadataHookInterface):
    """
    The hook that sets C{project.urls} and C{project.readme}.
    """

    def update(self, metadata: dict[str, Any]) -> None:
        """
        Add the two values to the metadata.
        """
        repository = str(self.config["repository"]).rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        version = metadata["version"]
        metadata["urls"] = urls(repository, version)
        metadata["readme"] = {"content-type": "text/markdown", "text": description(text, repository, version)}
