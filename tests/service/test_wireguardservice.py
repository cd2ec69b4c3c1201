"""
Tests for the services of WireGuard: their options, their file, and a host without a device.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from twisted.logger import capturedLogs, eventAsText
from twisted.python.usage import UsageError

from tests.paths import CHECKOUT
from tests.wireguard.test_protocol import KEYS, NetworkTestCase
from txtuntap.command.wireguardshow import text
from txtuntap.middleware import Netem
from txtuntap.service import WireGuardHostSettings, wireguardfile
from txtuntap.service.nameservers import NameServers
from txtuntap.service.observe.wireguard import _records, peerCounters
from txtuntap.service.options.host import HostOptions
from txtuntap.service.options.wireguard import WireGuardOptions
from txtuntap.service.wireguardfile import save, saveIfAsked
from txtuntap.service.wireguardhost import WireGuardHostService
from txtuntap.wireguard import WireGuard, keyText
from txtuntap.wireguard.configuration import Configuration

FILE = f"""[Interface]
PrivateKey = {keyText(KEYS[1].secret())}
Address = 10.0.0.2/32
ListenPort = 51820
[Peer]
PublicKey = {keyText(KEYS[0].public)}
AllowedIPs = 10.0.0.0/24
Endpoint = 192.0.2.1:51820
"""


class FileTestCase(NetworkTestCase):
    """
    A test case with a configuration file, and two hosts outside.
    """

    def write(self, text: str = FILE, mode: int = 0o600) -> str:
        """
        Write the file, in a directory of its own.
        """
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        # A directory that other users may not enter would protect the file.
        Path(directory.name).chmod(0o755)
        path = Path(directory.name) / "wg0.conf"
        path.write_text(text)
        path.chmod(mode)
        return str(path.resolve())

    def host(self, *arguments: str) -> WireGuardHostSettings:
        """
        Parse the options of a host.
        """
        options = HostOptions()
        options.parseOptions(["--wireguard", *arguments])
        assert isinstance(options.settings, WireGuardHostSettings)
        return options.settings

    def routes(self, text: str) -> tuple[list[str], list[str]]:
        """
        Return the routes of the kernel's end, and the default routes, that a file leads to.
        """
        options = WireGuardOptions()
        options.parseOptions(["--tun", "tun0", "--config", self.write(text)])  # type: ignore[no-untyped-call]
        kernelEnd = options.settings.interface.kernelEnd
        assert kernelEnd is not None
        return list(map(str, kernelEnd.routes)), list(map(str, options.settings.defaults))


class OptionsTests(FileTestCase):
    """
    Tests for the options.
    """

    def test_theFileGivesTheHostItsAddressAndMTU(self) -> None:
        settings = self.host(self.write(), "--udp", "7=echo")
        self.assertEqual((settings.name, settings.addresses, settings.mtu), ("wg0", ("10.0.0.2/32",), 1420))
        self.assertEqual(self.host(self.write(FILE.replace("ListenPort = 51820", "MTU = 1380"))).mtu, 1380)

    def test_optionsAboutADeviceAreRefusedByName(self) -> None:
        path = self.write()
        for option, *value in (
            ["--tun", "tun0"],
            ["--tap", "tap0"],
            ["--kernel-address", "10.0.0.1/24"],
            ["--hardened"],
            ["--gateway", "10.0.0.1"],
            ["--queues", "2"],
            ["--no-offload"],
            ["--autoconfigure"],
        ):
            error = self.assertRaises(UsageError, self.host, path, option, *value)
            self.assertIn(f"{option}: a host with --wireguard is on no device", str(error))

    def test_aHostNeedsAnAddress(self) -> None:
        error = self.assertRaises(UsageError, self.host, self.write(FILE.replace("Address = 10.0.0.2/32\n", "")))
        self.assertIn("has no Address", str(error))

    def test_allowedNetworksAreRoutes(self) -> None:
        everything = FILE.replace("10.0.0.0/24", "10.0.0.0/24, 0.0.0.0/0, ::/0")
        self.assertEqual(self.routes(everything), (["10.0.0.0/24"], ["0.0.0.0/0", "::/0"]))
        table = everything.replace("[Peer]", "Table = 77\n[Peer]")
        self.assertEqual(
            self.routes(table), ([f"{each} table 77" for each in ("10.0.0.0/24", "0.0.0.0/0", "::/0")], [])
        )
        self.assertEqual(self.routes(everything.replace("[Peer]", "Table = off\n[Peer]")), ([], []))

    @pytest.mark.unix("permissions of files")
    def test_aFileThatEveryUserMayReadIsWarnedAbout(self) -> None:
        self.assertEqual(self.host(self.write()).wireguard.warnings, ())
        (warning,) = self.host(self.write(mode=0o644)).wireguard.warnings
        self.assertIn("chmod o-rwx", warning)

    def test_aFileWithCommandsIsNotSaved(self) -> None:
        path = self.write(FILE.replace("[Peer]", "SaveConfig = true\nPostUp = echo\n[Peer]"))
        self.assertIn("--ignore-hooks", str(self.assertRaises(UsageError, self.host, path)))
        settings = self.host(path, "--ignore-hooks").wireguard
        self.assertFalse(settings.configuration.saveConfig)
        self.assertIn("would lose its commands", settings.warnings[-1])

    def test_withoutCryptographyTheErrorSaysWhatToInstall(self) -> None:
        path = self.write()
        calls = [
            "from txtuntap.command import main; sys.exit(main(['wireguard', 'genkey']))",
            "from txtuntap.service.options.host import HostOptions\n"
            f"try: HostOptions().parseOptions(['--wireguard', {path!r}])\n"
            "except Exception as e: print(e, file=sys.stderr); sys.exit(1)",
        ]
        if sys.platform != "win32":
            calls.append("from txtuntap.command.wireguarddaemon import main; sys.exit(main(['-f', 'tt0']))")
        for call in calls:
            block = f"import sys; sys.modules['cryptography'] = None\n{call}"
            done = subprocess.run(
                [sys.executable, "-c", block], capture_output=True, text=True, cwd=CHECKOUT, check=False
            )
            self.assertEqual(done.returncode, 1)
            self.assertIn("pip install cryptography", done.stderr)
            self.assertNotIn("Traceback", done.stderr)


class SaveTests(FileTestCase):
    """
    Tests for the file that is written at the end.
    """

    def test_theStateIsWrittenAndTheRestStays(self) -> None:
        path = self.write()
        configuration = Configuration.of(FILE)
        self.wireguards[1].addPeer(KEYS[0].public, ["10.5.0.0/16"])
        save(self.wireguards[1], configuration, path)
        written = Configuration.of(Path(path).read_text())
        self.assertEqual([str(each) for each in written.peers[0].allowed], ["10.5.0.0/16"])
        self.assertEqual([str(each) for each in written.addresses], ["10.0.0.2/32"])
        # The endpoint of the peer is not known yet.
        self.assertEqual(written.peers[0].endpoint, "192.0.2.1:51820")
        if os.name == "posix":
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(os.path.dirname(path)), ["wg0.conf"])

    def test_aFailureIsLogged(self) -> None:
        settings = self.host(self.write(FILE.replace("[Peer]", "SaveConfig = true\n[Peer]"))).wireguard
        assert settings.path is not None
        os.unlink(settings.path)
        os.rmdir(os.path.dirname(settings.path))
        self.begin()
        with capturedLogs() as logs:
            saveIfAsked(self.wireguards[1], settings)
        self.assertIn("is left as it is", eventAsText(logs[0]))


class NameServerTests(FileTestCase):
    """
    Tests for the name servers, with a script in place of C{resolvconf}.
    """

    @pytest.mark.unix("a script of a shell")
    def test_theNameServersAreSetAndUnset(self) -> None:
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        directory = Path(temporary.name)
        program = directory / "resolvconf"
        log = directory.resolve() / "log"
        program.write_text(f'#!/bin/sh\necho "$@" >> {log}\ncase $1 in -a) cat >> {log};; esac\n')
        program.chmod(0o755)
        self.patch(os, "environ", {**os.environ, "PATH": f"{directory.resolve()}:{os.environ['PATH']}"})
        servers = NameServers()
        servers.set("tt0", Configuration(nameServers=["10.0.0.53"], searchDomains=["a.example"]))
        servers.unset()
        servers.unset()
        expected = ["-a tt0 -m 0 -x", "nameserver 10.0.0.53", "search a.example", "-d tt0 -f"]
        self.assertEqual(log.read_text().splitlines(), expected)


class HostTests(FileTestCase):
    """
    Tests for a host without a device.
    """

    def test_theHostAnswersThroughWireGuard(self) -> None:
        made = partial(WireGuard, outside=self.outside[1], random=Random(1), secrets=Random(2))
        self.patch(wireguardfile, "WireGuard", made)
        settings = self.host(self.write(), "--no-control")
        service = WireGuardHostService(settings, self.network.clock)
        self.knows(0, 1, "192.0.2.2:51820", keepalive=25)
        self.network.start()
        self.addCleanup(self.network.stop)
        self.links[0].start()
        service.privilegedStartService()
        self.assertTrue(self.ping(0, "10.0.0.2"))
        self.assertEqual(service.interface(), "wg0")
        port = service.counters()["port"]
        self.assertEqual((port["inPackets"], port["outPackets"]), (1, 1))
        (counters,) = peerCounters(service.wireguard).values()
        self.assertEqual(counters["inOctets"], service.wireguard.peers[0].received)
        self.network.result(service.stopService())
        self.assertEqual(service.wireguard.numPorts, 0)
        self.links[0].stop()

    def test_aHostHasFaultsThatThePageChanges(self) -> None:
        """
        A host without a device gives faults to the packets inside.
        """
        made = partial(WireGuard, outside=self.outside[1], random=Random(1), secrets=Random(2))
        self.patch(wireguardfile, "WireGuard", made)
        settings = self.host(self.write(), "--no-control", "--impairment", "loss 100%")
        service = WireGuardHostService(settings, self.network.clock)
        self.knows(0, 1, "192.0.2.2:51820", keepalive=25)
        self.network.start()
        self.addCleanup(self.network.stop)
        self.links[0].start()
        self.addCleanup(self.links[0].stop)
        service.privilegedStartService()
        self.addCleanup(lambda: self.network.result(service.stopService()))
        self.assertFalse(self.ping(0, "10.0.0.2"))
        self.assertGreater(service.counters()["impairment"]["inLost"], 0)
        impairment = service.subject().impairment
        assert impairment is not None
        impairment.up = impairment.down = Netem.of("")
        self.assertTrue(self.ping(0, "10.0.0.2"))


class ShowTests(FileTestCase):
    """
    Tests for the text of C{txtuntap wireguard show}.
    """

    def test_theLayoutIsThatOfWG(self) -> None:
        secret = bytes(range(32))
        self.knows(0, 1, "192.0.2.2:51820", keepalive=90, presharedKey=secret)
        peer = self.wireguards[0].peers[0]
        peer.received, peer.sent, peer.lastHandshake = 148, 3 << 20, 1000.5
        interface, *peers = _records(self.wireguards[0])
        self.assertNotIn(keyText(secret), str(peers))
        self.assertEqual(
            text({"interface": "wg0", **interface, "peers": peers}, 4663.2).splitlines(),
            [
                "interface: wg0",
                f"  public key: {keyText(KEYS[0].public)}",
                "  private key: (hidden)",
                "  listening port: 51820",
                "",
                f"peer: {keyText(KEYS[1].public)}",
                "  preshared key: (hidden)",
                "  endpoint: 192.0.2.2:51820",
                "  allowed ips: 10.0.0.2/32, fd00::2/128",
                "  latest handshake: 1 hour, 1 minute, 3 seconds ago",
                "  transfer: 148 B received, 3.00 MiB sent",
                "  persistent keepalive: every 1 minute, 30 seconds",
            ],
        )
