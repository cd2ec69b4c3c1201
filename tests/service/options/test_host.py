"""
Tests for options of C{twistd tuntap host} that are refused, and for the texts of the refusals. Some of them are given
to a real C{twistd} in L{tests.real.test_service}.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.service.inprocess import refused

TUN, TAP = (
    [
        f"--{mode}",
        f"{mode}0",
        *("--address", "10.9.0.2/24", "--address", "fd09::2/64", "--kernel-address", "10.9.0.1/24"),
    ]
    for mode in ("tun", "tap")
)
TUN += "--kernel-address", "fd09::1/64"
TAP += "--kernel-address", "fd09::1/64"

_MODULE = """
def broken():
    raise RuntimeError("not today")

number = 7
"""


class RefusedTests(SynchronousTestCase):
    def assertNamed(self, *rows: tuple[str, list[str]]) -> None:
        """
        Check that each row is refused with status 1. The last line of the output contains the words with which the row
        begins, and there is no traceback.
        """
        for named, arguments in rows:
            said = refused("host", *arguments)
            self.assertIn(named, said[-1], arguments)
            self.assertTrue(said[-1].startswith("twistd "), said)
            self.assertFalse([line for line in said if line.startswith("Traceback")], said)

    def test_aMissingSubcommandListsTheSubcommands(self) -> None:
        self.assertIn("host or switch or tunnel", refused()[-1])

    def test_anUnknownOptionIsRefused(self) -> None:
        self.assertNamed(("option --bogus not", ["--bogus", *TUN]))

    def test_missingOrInvalidInterfacesAreRefused(self) -> None:
        self.assertNamed(
            ("--tun", ["--address", "10.9.0.2/24"]),
            ("--tap", ["--address", "10.9.0.2/24"]),
            ("--tap", ["--tun", "tun0", "--tap", "tap1", "--address", "10.9.0.2/24"]),
            ("--tun", ["--tun", "a/b", "--address", "10.9.0.2/24"]),
            ("--tap", ["--tap", "a/b", "--address", "10.9.0.2/24"]),
        )

    def test_missingOrInvalidAddressesAreRefused(self) -> None:
        self.assertNamed(
            ("--address", ["--tun", "tun0"]),
            ("--address", ["--tun", "tun0", "--address", "10.9.0.300/24"]),
            ("--address", ["--tun", "tun0", "--address", "224.0.0.1/24"]),
            ("--address", ["--tun", "tun0", "--address", "127.0.0.1/8"]),
            ("--autoconfigure", [*TUN, "--autoconfigure"]),
        )

    def test_invalidSettingsOfTheKernelsEndAreRefused(self) -> None:
        self.assertNamed(
            ("--kernel-address", [*TUN, "--kernel-address", "nonsense"]),
            ("--kernel-address", [*TUN, "--kernel-address", "10.9.0.1/24 near 10.9.0.3"]),
            ("--kernel-address", [*TUN, "--kernel-address", "224.0.0.1/24"]),
            ("--kernel-neighbour", [*TUN, "--kernel-neighbour", "10.9.0.3"]),
            ("--kernel-route", [*TUN, "--kernel-route=nonsense"]),
            ("--kernel-route", [*TUN, "--down", "--kernel-route", "10.1.0.0/16"]),
            ("metric", [*TUN, "--kernel-route", "10.1.0.0/16 metric five"]),
            ("mtu", [*TUN, "--mtu=67"]),
            ("disables IPv6", [*TUN, "--mtu=1000"]),
            ("--txqueuelen", [*TUN, "--txqueuelen=long"]),
            ("nobody at all", [*TUN, "--user=nobody at all"]),
            ("--lladdr", [*TUN, "--lladdr=02:00:00:00:00:09"]),
            ("--no-carrier", [*TUN, "--carrier", "--no-carrier"]),
        )

    def test_invalidServicesAreRefused(self) -> None:
        for option in "--udp", "--tcp":
            self.assertNamed(
                (option, [*TUN, option, "7"]),
                (option, [*TUN, option, "7="]),
                (option, [*TUN, option, "0=echo"]),
                (option, [*TUN, option, "65536=echo"]),
                (option, [*TUN, option, "seven=echo"]),
                (f"{option}: port 7 is given twice", [*TUN, option, "7=echo", option, "7=discard"]),
                (f"{option} 7=builtins.dict: the call made a dict", [*TUN, option, "7=builtins.dict"]),
                (option, [*TUN, option, "7=.."]),
            )
        self.assertNamed(
            ("the call made a Factory, not a DatagramProtocol", [*TUN, "--udp", "7=twisted.protocols.wire.Echo"]),
            ("the call made a Echo, not a factory of protocols", [*TUN, "--tcp", "7=txtuntap.udp.echo.Echo"]),
        )

    def test_servicesThatCannotBeImportedOrMadeAreRefused(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        Path(directory.name, "refusedmodule.py").write_text(_MODULE)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory.name)
        # The option adds the working directory to this path.
        self.patch(sys, "path", list(sys.path))
        self.addCleanup(sys.modules.pop, "refusedmodule")
        for option in "--udp", "--tcp":
            self.assertNamed(
                (option, [*TUN, option, "7=nowhere.Nothing"]),
                (option, [*TUN, option, "7=refusedmodule.Nothing"]),
                (f"{option} 7=refusedmodule.number", [*TUN, option, "7=refusedmodule.number"]),
                ("not today", [*TUN, option, "7=refusedmodule.broken"]),
            )

    def test_invalidNetworksToAnswerForAreRefused(self) -> None:
        whole = [*TAP, "--any-address", "10.9.0.0/16"]
        self.assertNamed(
            ("--answer-for", [*TAP, "--answer-for", "10.9.0.0/16"]),
            ("--answer-for", [*whole, "--answer-for", "10.8.0.0/15"]),
            ("--answer-for", [*TUN, "--any-address", "10.9.0.0/16", "--answer-for", "10.9.0.0/16"]),
            ("--answer-for", [*whole, "--answer-for", "10.9.0.1/16"]),
            ("--answer-except", [*whole, "--answer-except", "10.9.0.7"]),
            ("--answer-except", [*TAP, "--answer-except", "here"]),
        )

    def test_contradictorySourcesOfTheDeviceAreRefused(self) -> None:
        helper = [*TUN, "--helper", "/run/helper"]
        self.assertNamed(
            ("--descriptor", [*TUN, "--descriptor", "tun"]),
            ("--descriptor", [*helper, "--descriptor", "3"]),
            ("--netns", [*helper, "--netns", "other"]),
            ("--user", [*helper, "--user", "root"]),
            ("--undo", [*helper, "--undo"]),
            ("--no-persistent", [*helper, "--no-persistent"]),
        )

    @pytest.mark.linux
    def test_aMissingNamespaceOrHelperIsReportedAtTheStart(self) -> None:
        for named, arguments in (
            ("/run/netns/no-one-has-made-this", ["--netns", "no-one-has-made-this"]),
            ("no helper at /nowhere/socket", ["--helper", "/nowhere/socket"]),
        ):
            (line,) = refused("host", *TUN, *arguments)
            self.assertIn(named, line)
