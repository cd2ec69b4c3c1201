"""
Tests of the check of the built site, C{docs/check.py}.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.check import main, mistakes


def _site(folder: Path, **pages: str) -> Path:
    """
    Write a site with a page for each argument.
    """
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text)
    return folder


@pytest.mark.parametrize(
    "link",
    [
        "#here",
        "#",
        "other.html#there",
        "other.html#a%20name",
        "./sub/../other.html",
        "https://example.com/page#part",
        "mailto:someone@example.com",
        "other.html#replaced%200",
    ],
)
def test_aLinkThatLeadsSomewhereIsNoMistake(tmp_path: Path, link: str) -> None:
    other = '<a name="there"></a><p id="a name">text</p>'
    assert list(mistakes(_site(tmp_path, index=f'<p id="here"><a href="{link}">link</a></p>', other=other))) == []


@pytest.mark.parametrize(
    "link", ["#there", "other.html#here", "missing.html", "../outside.html", "/other.html", "other.md#x"]
)
def test_aLinkToNoPageOrNoAnchorIsAMistake(tmp_path: Path, link: str) -> None:
    (found,) = mistakes(_site(tmp_path, index=f'<p id="here"><a href="{link}">link</a></p>', other="text"))
    assert found.startswith(f"index.html leads to {link}, ")


@pytest.mark.parametrize(
    "element",
    [
        '<link rel="stylesheet" href="https://example.com/a">',
        '<link rel="icon" href="//example.com/a">',
        '<script src="http://example.com/a"></script>',
        '<img alt="" src="https://example.com/a">',
        '<img alt="" srcset="https://example.com/a 2x">',
        '<iframe src="https://example.com/a"></iframe>',
        '<svg><image xlink:href="https://example.com/a"/></svg>',
        "<style>@font-face { src: url(https://example.com/a) }</style>",
        '<p style="background: url(&quot;https://example.com/a&quot;)">',
    ],
)
def test_aFileThatIsLoadedFromAnotherHostIsAMistake(tmp_path: Path, element: str) -> None:
    (found,) = mistakes(_site(tmp_path, index=element))
    assert found.startswith("index.html loads ")


def test_aStyleSheetThatLoadsFromAnotherHostIsAMistake(tmp_path: Path) -> None:
    (tmp_path / "site.css").write_text("@import 'https://example.com/a.css'; p { background: url(data:,) }")
    assert list(mistakes(tmp_path)) == ["site.css loads https://example.com/a.css"]


def test_aMissingPictureIsAMistake(tmp_path: Path) -> None:
    assert list(mistakes(_site(tmp_path, index='<img alt="" src="no.svg">'))) == [
        "index.html leads to no.svg, which is no page"
    ]


def test_aFolderWithoutASiteFails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["check", str(tmp_path)])
    assert main() == 1
    _site(tmp_path, index="text")
    assert main() == 0
