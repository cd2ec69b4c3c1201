"""
Make the manual pages, the page of options of the site, and the completions of C{txtuntap} for shells, from the parsers
of the commands:

    python docs/commands.py

The files are committed, and a test checks that they are what this makes.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from txtuntap.command.parser import commandParser, eachParser, shortUsage, valueName
from txtuntap.command.wireguarddaemon import daemonParser
from txtuntap.device.helper.options import helperParser
from txtuntap.service.options import Options

CHECKOUT = Path(__file__).parents[1]
MAN = CHECKOUT / "docs" / "man"
OPTIONS = CHECKOUT / "docs" / "options.md"
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

#: The beginning of the page of options, before the sections of the commands.
_OPTIONS_PAGE = """\
# Options

This page has all options of all commands. `python docs/commands.py` makes it from the parsers of the commands, so that
it has the words of `--help` and of the manual pages. [The commands](commands.md) says what each command is for.
"""

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
    return {
        MAN / f"{program.replace(' ', '-')}.1": _manualPage(about, list(sections))
        for program, (about, sections) in _programs().items()
        # The helper is a module, and not a program on the path.
        if not program.startswith("python ")
    }


def optionsPage() -> str:
    """
    Make the page of the site that has all options of all commands.
    """
    lines = [_OPTIONS_PAGE]
    for _, sections in _programs().values():
        for section in sections:
            lines += [f"## {section.name}", "", f"`{section.usage}`", ""]
            lines += [f"{_markdown(section.about)}\n"] if section.about else []
            lines += [f"```{{program}} {section.name}\n```", ""]
            for heading, options in section.groups:
                lines += [f"### {heading}\n"] if heading else []
                lines += [f"```{{option}} {names}\n{_markdown(about)}\n```\n" for names, about in options]
    return "\n".join(lines).rstrip("\n") + "\n"


@attrs.frozen
class _Section:
    """
    The text about one command.

    @ivar name: the words that call it.
    @ivar usage: the way to call it, in one line.
    @ivar about: its description; empty if the page has it elsewhere.
    @ivar groups: for each group of options, the heading (empty where none is needed), and the names and the text of
        each option.
    """

    name: str
    usage: str
    about: str
    groups: list[tuple[str, list[tuple[str, str]]]]


def _programs() -> dict[str, tuple[str, Iterator[_Section]]]:
    """
    Return for each program a sentence about it, and the sections about it and its subcommands.
    """
    tops = commandParser(), daemonParser(), helperParser()
    return {
        "twistd tuntap": (str(Options.longdesc), _serviceSections()),
        **{parser.prog: (str(parser.description), _parserSections(parser)) for parser in tops},
    }


def _parserSections(parser: argparse.ArgumentParser) -> Iterator[_Section]:
    """
    Yield the section about a parser, and those about its subcommands.
    """
    for each in (parser, *eachParser(parser)):
        about = "" if each is parser else str(each.description)
        yield _Section(each.prog, each.usage or shortUsage(each), about, _argumentGroups(each))


def _argumentGroups(parser: argparse.ArgumentParser) -> list[tuple[str, list[tuple[str, str]]]]:
    """
    Find the arguments of one parser, in its groups.
    """
    found = []
    for group in parser._action_groups:
        actions = [each for each in group._group_actions if each.help != argparse.SUPPRESS]
        actions = [each for each in actions if not isinstance(each, argparse._SubParsersAction | argparse._HelpAction)]
        options = []
        for action in actions:
            names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            value = "" if not action.option_strings or action.nargs == 0 else f" {valueName(action)}"
            options.append((names + value, str(action.help) % vars(action)))
        # The two groups that each parser has need no heading.
        heading = "" if group.title in ("options", "positional arguments") else str(group.title)
        found += [(heading, options)] if options else []
    return found


def _serviceSections() -> Iterator[_Section]:
    """
    Yield the section about C{twistd tuntap}, and those about its subcommands.
    """
    yield _Section("twistd tuntap", "twistd [options of twistd] tuntap COMMAND [options]", "", [])
    for kind, _, options, _ in Options.subCommands:
        made = options()
        groups = [
            (heading, [(option.strip(), about) for option, about in made.described(names)])
            for heading, names in made.groups().items()
        ]
        yield _Section(f"twistd tuntap {kind}", f"twistd tuntap {kind} {made.synopsis}", made.longdesc, groups)


def _manualPage(about: str, sections: list[_Section]) -> str:
    """
    Make a page in the format of C{man(7)}. It has no version and no date, which would change it at each release.
    """
    name = sections[0].name.replace(" ", "-")
    lines = [f'.TH {name.upper()} 1 "" txtuntap', ".SH NAME", f"{name} \\- {_text(about.rstrip('.'))}"]
    for section in sections:
        if section is sections[0]:
            lines += [".SH SYNOPSIS", _text(section.usage), *([".SH OPTIONS"] if section.groups else [])]
        else:
            title = section.name.removeprefix("twistd ").upper()
            lines += [f".SH {_text(title)}", _text(section.usage), ".PP", _text(section.about)]
        for heading, options in section.groups:
            lines += [f".SS {_text(heading)}"] if heading else []
            for names, text in options:
                lines += [".TP", f".B {_text(names)}", _text(text)]
    others = [f"{each}(1)" for each in ("twistd-tuntap", "txtuntap", "txtuntap-wireguard") if each != name]
    return "\n".join([*lines, ".SH SEE ALSO", _text(", ".join(others)), ""])


def _text(text: str) -> str:
    """
    Escape text for a line of a page: a hyphen is a minus, and no line begins with a request.
    """
    text = re.sub(r"\s+", " ", text).strip().replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


#: Text that is code on the site: an option, or a value in quotes.
_CODE = re.compile(r"""(?<![\w-])(?P<option>--[a-z][a-z-]*)|(?<!\w)'(?P<one>[^']*)'(?!\w)|"(?P<two>[^"]*)\"""")


def _markdown(text: str) -> str:
    """
    Escape text for the site, and make options and quoted values in it code, which stays as it is written.
    """
    text = re.sub(r"\s+", " ", text).strip()
    parts, end = [], 0
    for match in _CODE.finditer(text):
        # An empty value in quotes keeps them, because no code is empty.
        code = match["option"] or match["one"] or match["two"] or match[0]
        parts += [_escaped(text[end : match.start()]), f"`{code}`"]
        end = match.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_<\[{])", r"\\\1", text)


def main() -> None:
    for path, text in {**manualPages(), OPTIONS: optionsPage(), **completions()}.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(path.relative_to(CHECKOUT), file=sys.stderr)


if __name__ == "__main__":
    main()
