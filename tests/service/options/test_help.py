"""
Tests for the help texts of C{twistd tuntap}: options in groups, and a short usage in front of an error.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import redirect_stdout
from io import StringIO
from typing import Any, ClassVar, cast

from twisted.application.twist._options import TwistOptions
from twisted.python.usage import UsageError
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]
from twisted.trial.unittest import SynchronousTestCase

from tests.service.inprocess import refused
from txtuntap.service.options import Options
from txtuntap.version import version


def printed(*arguments: str) -> list[str]:
    """
    Return the lines that C{twistd tuntap} prints for arguments with which it exits.
    """
    out = StringIO()
    with redirect_stdout(out):
        try:
            ServerOptions().parseOptions(["tuntap", *arguments])
        except SystemExit as e:
            assert e.code == 0, e
    return out.getvalue().splitlines()


class HelpTests(SynchronousTestCase):
    KINDS: ClassVar = {kind: options for kind, _, options, _ in Options.subCommands}

    def setUp(self) -> None:
        self.patch(sys, "argv", ["twistd"])
        self.patch(os, "environ", {**os.environ, "COLUMNS": "100"})

    def test_eachOptionIsInOneGroup(self) -> None:
        for kind, options in self.KINDS.items():
            listed = [name for names in options.groups().values() for name in names]
            self.assertEqual(sorted(listed), sorted(name.rstrip("=") for name in options().longOpt), kind)

    def test_helpListsEachOptionBelowAHeading(self) -> None:
        for kind, options in self.KINDS.items():
            lines = printed(kind, "--help")
            self.assertTrue(lines[0].startswith(f"Usage: twistd [options] tuntap {kind} --t"), lines[0])
            self.assertLessEqual(max(map(len, lines[1:])), 100)
            found: dict[str, list[str]] = {}
            for line in lines:
                heading, option = re.fullmatch(r"(\S.*):", line), re.match(r"  (?:    |-\w, )--([\w-]+)", line)
                if heading:
                    found[heading[1]] = []
                if option:
                    list(found.values())[-1].append(option[1])
            self.assertEqual(found, options.groups())

    def test_helpDescribesTheCommandBeforeItsOptions(self) -> None:
        lines = printed("switch", "--help")
        self.assertTrue(lines[2].startswith("Be a learning switch"), lines[2])
        self.assertIn("[default: 300]", "\n".join(lines))
        self.assertIn("  -c, --config=           The configuration file.", printed("wireguard", "--help"))

    def test_helpOfTheTopListsTheCommands(self) -> None:
        lines = printed("--help")
        self.assertEqual(lines[0], "Usage: twistd [options] tuntap COMMAND [options]")
        for kind in self.KINDS:
            self.assertEqual([line.split()[0] for line in lines if line.startswith(f"  {kind} ")], [kind])

    def test_noInternalOptionIsShown(self) -> None:
        for kind, options in self.KINDS.items():
            self.assertNotIn("--queue=", "\n".join(printed(kind, "--help")).split())
            self.assertNotIn("queue=", options().longOpt)

    def test_anErrorHasAShortUsageAndTheOptionsName(self) -> None:
        for arguments, usage, error in (
            (["host", "--bogus"], "host --tun NAME|--tap NAME --address CIDR [options]", "option --bogus"),
            (
                ["host", "--mtu"],
                "host --tun NAME|--tap NAME --address CIDR [options]",
                "option --mtu requires argument",
            ),
            (
                ["host", "--down=7"],
                "host --tun NAME|--tap NAME --address CIDR [options]",
                "option --down must not have",
            ),
            (["wireguard", "--tap", "tap0"], "wireguard --tun NAME --config FILE [options]", "--tap: WireGuard"),
            (["switch", "--ageing", "0"], "switch --tap NAME[,OPTION...] [options]", "--tap"),
            (["tunnel", "--tun", "tun0"], "tunnel --tun NAME|--tap NAME --listen", "--listen ENDPOINT and --connect"),
        ):
            lines = refused(*arguments)
            self.assertEqual(
                [lines[0], lines[2:-1]], ["Usage: twistd [options]", ["Add --help for the list of options.", ""]]
            )
            self.assertTrue(lines[1].startswith(f"  tuntap {usage}"), lines[1])
            self.assertIn(error, lines[-1])

    def test_anUnknownCommandIsAnsweredWithTheCommands(self) -> None:
        for arguments in [], ["hots"]:
            lines = refused(*arguments)
            self.assertEqual(lines[1:3], ["  tuntap COMMAND [options]", "Commands:"])
            self.assertLess(len(lines), 12)

    def test_twistPrintsTheSameUsage(self) -> None:
        # "twist" and "python -m twisted" have another class of options, which prints its error first.
        options = TwistOptions()
        self.assertRaises(UsageError, options.parseOptions, ["tuntap", "host", "--bogus"])
        text = str(options)
        self.assertIn("\n  tuntap host --tun NAME|--tap NAME --address CIDR [options]\n", text)
        self.assertEqual(text.count("\n"), 3)

    def test_theVersionIsThatOfThisPackage(self) -> None:
        for arguments in [], *([kind] for kind in self.KINDS):
            (line,) = printed(*arguments, "--version")
            self.assertTrue(line.startswith(f"txtuntap {version()} (Twisted "), line)

    def test_optionsOfAProgramHaveNoParent(self) -> None:
        options = cast(Any, self.KINDS["host"])()
        self.assertEqual(options.getUsage().splitlines()[0], "  --tun NAME|--tap NAME --address CIDR [options]")
