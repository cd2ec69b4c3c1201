"""
Make the manual pages, and the completions of C{txtuntap} for shells, from the parsers of the commands:

    python docs/commands.py

The files are committed, and a test checks that they are what this makes.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from txtuntap.command.parser import commandParser, eachParser, valueName
from txtuntap.command.wireguarddaemon import daemonParser
from txtuntap.service.options import Options

CHECKOUT = Path(__file__).parents[1]
MAN = CHECKOUT / "docs" / "man"
COMPLETIONS = CHECKOUT / "txtuntap" / "command" / "completions"

#: The functions of bash and zsh that complete what the parser does not know: the interfaces and the namespaces.
_PREAMBLES = {
    "bash": """\
_txtuntap_interfaces() {
  compgen -W "$(cd /sys/class/net && for each in */tun_flags; do [ -e "$each" ] && echo "${each%/*}"; done)" -- "$1"
}
_txtuntap_namespaces() {
  compgen -W "$(ls /run/netns 2>/dev/null)" -- "$1"
}
_txtuntap_nothing() {
  true
}
_txtuntap_users() {
  compgen -u -- "$1"
}
_txtuntap_groups() {
  compgen -g -- "$1"
}""",
    "zsh": """\
_txtuntap_interfaces() {
  local -a names=(/sys/class/net/*/tun_flags(N:h:t))
  _describe interface names
}
_txtuntap_namespaces() {
  local -a names=(/run/netns/*(N:t))
  _describe namespace names
}
_txtuntap_nothing() {
  _message name
}
_txtuntap_users() {
  _users
}
_txtuntap_groups() {
  _groups
}""",
}

#: What completes the value of an argument, by the argument's name in the parser.
_COMPLETERS = {"name": "interfaces", "netns": "namespaces", "to": "namespaces", "user": "users", "group": "groups"}


def completions() -> dict[Path, str]:
    """
    Make the completions of C{txtuntap}.

    @return: the text of each file.
    """
    import shtab

    made = {}
    for shell, preamble in _PREAMBLES.items():
        parser = commandParser()
        for prog, action in [(each.prog, action) for each in (parser, *eachParser(parser)) for action in each._actions]:
            completer = _COMPLETERS.get(action.dest)
            if prog == "txtuntap add" and action.dest == "name":
                # This name is a new one.
                action.complete = {shell: "_txtuntap_nothing"}  # type: ignore[attr-defined]
            elif completer is not None:
                action.complete = {shell: f"_txtuntap_{completer}"}  # type: ignore[attr-defined]
            elif action.metavar == "FILE" or action.dest == "folder":
                action.complete = shtab.DIRECTORY if action.dest == "folder" else shtab.FILE  # type: ignore[attr-defined]
        made[COMPLETIONS / shell] = shtab.complete(parser, shell, preamble=preamble)
    return made


def manualPages() -> dict[Path, str]:
    """
    Make the manual pages.

    @return: the text of each file.
    """
    tops = commandParser(), daemonParser()
    pages = {parser.prog: _page(parser.prog, str(parser.description), _parserLines(parser)) for parser in tops}
    pages["twistd-tuntap"] = _page("twistd-tuntap", str(Options.longdesc), _serviceLines())
    return {MAN / f"{name}.1": text for name, text in pages.items()}


def _page(name: str, about: str, lines: Iterable[str]) -> str:
    """
    Make a page in the format of C{man(7)}. It has no version and no date, which would change it at each release.
    """
    head = [f'.TH {name.upper()} 1 "" txtuntap', ".SH NAME", f"{name} \\- {_text(about.rstrip('.'))}"]
    others = [f"{each}(1)" for each in ("twistd-tuntap", "txtuntap", "txtuntap-wireguard") if each != name]
    return "\n".join([*head, *lines, ".SH SEE ALSO", _text(", ".join(others)), ""])


def _parserLines(parser: argparse.ArgumentParser) -> Iterator[str]:
    """
    Yield the lines about a parser and about its subcommands, each of which has a section.
    """
    yield from (".SH SYNOPSIS", _text(str(parser.usage)), ".SH OPTIONS", *_argumentLines(parser))
    for each in eachParser(parser):
        yield from (f".SH {_text(each.prog.upper())}", _text(str(each.usage)), ".PP", _text(str(each.description)))
        yield from _argumentLines(each)


def _argumentLines(parser: argparse.ArgumentParser) -> Iterator[str]:
    """
    Yield the lines about the arguments of one parser, in its groups.
    """
    for group in parser._action_groups:
        actions = [each for each in group._group_actions if each.help != argparse.SUPPRESS]
        actions = [each for each in actions if not isinstance(each, argparse._SubParsersAction | argparse._HelpAction)]
        # The two groups that each parser has need no heading.
        if actions and group.title not in ("options", "positional arguments"):
            yield f".SS {_text(str(group.title))}"
        for action in actions:
            names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            value = "" if not action.option_strings or action.nargs == 0 else f" {valueName(action)}"
            yield from (".TP", f".B {_text(names + value)}", _text(str(action.help) % vars(action)))


def _serviceLines() -> Iterator[str]:
    """
    Yield the lines about C{twistd tuntap}, whose subcommands have a section each.
    """
    yield from (".SH SYNOPSIS", _text("twistd [options of twistd] tuntap COMMAND [options]"))
    for name, _, options, _ in Options.subCommands:
        made = options()
        yield from (f".SH {_text(f'tuntap {name}'.upper())}", _text(f"twistd tuntap {name} {made.synopsis}"), ".PP")
        yield _text(made.longdesc)
        for heading, names in made.groups().items():
            yield f".SS {_text(heading)}"
            for option, about in made.described(names):
                yield from (".TP", f".B {_text(option.strip())}", _text(about))


def _text(text: str) -> str:
    """
    Escape text for a line of a page: a hyphen is a minus, and no line begins with a request.
    """
    text = re.sub(r"\s+", " ", text).strip().replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def main() -> None:
    for path, text in {**manualPages(), **completions()}.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(path.relative_to(CHECKOUT), file=sys.stderr)


if __name__ == "__main__":
    main()
