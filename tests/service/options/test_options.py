"""
Tests for options that several services share, as far as they need no kernel. Wrong options are refused with a plain
text.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import pytest
from attrs.exceptions import FrozenInstanceError
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from txtuntap import service
from txtuntap.device.settings import InterfaceSettings
from txtuntap.service.options import Options
from txtuntap.service.options import service as serviceoptions
from txtuntap.service.options.host import HostOptions, HostServiceSettings

HOST = ["--tun", "tun0", "--address", "10.9.0.2/24"]
ENDPOINT = "tcp:9100:interface=127.0.0.1"


class SettingsTests(SynchronousTestCase):
    """
    Tests for the settings that are made from options, and from which services are made.
    """

    LINES: ClassVar = {
        "host --tun tun0 --address 10.9.0.2/24": (service.HostServiceSettings, service.HostService),
        "tunnel --tun tun0 --listen unix:/run/tunnel": (service.TunnelServiceSettings, service.TunnelService),
        "switch --tap tap0": (service.SwitchServiceSettings, service.SwitchService),
    }

    def test_eachSubcommandMakesItsSettingsAndService(self) -> None:
        for line, (record, kind) in self.LINES.items():
            options = cast(Any, Options)()
            options.parseOptions(line.split())
            self.assertIs(type(options.settings), record)
            self.assertIs(type(service.makeService(options)), kind)

    def test_settingsAreImmutable(self) -> None:
        for line in self.LINES:
            options = cast(Any, Options)()
            options.parseOptions(line.split())
            self.assertRaises(FrozenInstanceError, setattr, options.settings, "prometheus", ENDPOINT)

    def test_aServiceCanBeMadeFromSettingsWithoutOptions(self) -> None:
        taps = [service.SwitchTap(interface="tap0", port=service.SwitchPortSettings(vlan=7))]
        made = service.SwitchService(service.SwitchServiceSettings(taps=taps))
        self.assertEqual(list(made.switch.ports), ["tap0"])

    def test_metricsAreServedForEveryKindOfService(self) -> None:
        for line, (_, kind) in self.LINES.items():
            options = cast(Any, Options)()
            options.parseOptions([*line.split(), "--prometheus", ENDPOINT])
            made = cast(Any, service.makeService(options))
            self.assertEqual([type(each) for each in made], [service.MetricsService, kind])


class HardenedTests(SynchronousTestCase):
    def test_hardenedIsPassedOn(self) -> None:
        for arguments, expected in ((), None), (["--hardened"], True):
            options = HostOptions()
            options.parseOptions([*HOST, "--kernel-address", "10.9.0.1/24", *arguments])
            kernelEnd = options.interface.kernelEnd
            assert kernelEnd is not None
            self.assertEqual(kernelEnd.hardened, expected)

    def test_hardenedAloneDoesNotSetTheInterfaceUp(self) -> None:
        options = HostOptions()
        options.parseOptions([*HOST, "--hardened"])
        kernelEnd = options.interface.kernelEnd
        assert kernelEnd is not None
        self.assertEqual((kernelEnd.hardened, kernelEnd.up), (True, None))


class PrometheusTests(SynchronousTestCase):
    def refusal(self, *arguments: str) -> str:
        """
        Return the text with which arguments are refused.
        """
        return str(self.assertRaises(UsageError, HostOptions().parseOptions, [*HOST, *arguments]))

    def made(self, *arguments: str) -> Any:
        """
        Make the service that arguments describe.
        """
        options = cast(Any, Options)()
        options.parseOptions(["host", *HOST, *arguments])
        return service.makeService(options)

    def test_anInvalidEndpointIsRefused(self) -> None:
        for text in "tcq:9100", "tcp:metrics", "tcp", "", "tcp:9100:interfaces=lo":
            said = self.refusal("--prometheus", text)
            self.assertIn(f"--prometheus: {text!r} is no server endpoint such as {ENDPOINT}", said)

    @pytest.mark.linux
    def test_metricsAreRefusedWithQueues(self) -> None:
        self.assertIn("each process has counters of its own", self.refusal("--prometheus", ENDPOINT, "--queues", "2"))

    def test_aMissingExtraIsReportedOnlyIfMetricsAreServed(self) -> None:
        searched: list[str] = []
        self.patch(serviceoptions, "find_spec", searched.append)
        self.assertIn("pip install prometheus-client", self.refusal("--prometheus", ENDPOINT))
        self.assertEqual(searched, ["prometheus_client"])
        # Without --prometheus, the extra is not needed.
        HostOptions().parseOptions(HOST)

    def test_metricsListenBeforeTheInterfaceIsOpened(self) -> None:
        self.assertEqual(
            [type(each) for each in self.made("--prometheus", ENDPOINT)], [service.MetricsService, service.HostService]
        )

    def test_withoutPrometheusThereIsNoServer(self) -> None:
        self.assertIsInstance(self.made(), service.HostService)


class ManyTests(SynchronousTestCase):
    """
    Tests for options that are given very often.
    """

    def refusal(self, *arguments: str) -> str:
        options = HostOptions()
        error = self.assertRaises(UsageError, options.parseOptions, ["--tun", "tun0", *arguments])
        return str(error)

    def test_aPortGivenTwiceIsRefused(self) -> None:
        ports = [word for port in (*range(1000, 1100), 1050, 1000) for word in ("--udp", f"{port}=echo")]
        said = self.refusal("--address", "10.0.0.2/24", *ports)
        self.assertEqual(said, "--udp: port 1050 is given twice")

    def test_anAddressAtBothEndsIsRefused(self) -> None:
        ours = [word for number in range(1, 100) for word in ("--address", f"10.0.0.{number}/24")]
        theirs = [word for number in range(99, 200) for word in ("--kernel-address", f"10.0.0.{number}/24")]
        self.assertIn("10.0.0.99/24 is the host's --address", self.refusal(*ours, *theirs))


class KernelEndTests(SynchronousTestCase):
    """
    Tests for the settings of the kernel's end, and for the choice of the program that configures it.
    """

    def options(self, *arguments: str) -> HostOptions:
        options = HostOptions()
        options.parseOptions([*HOST, *arguments])
        return options

    def test_theKernelsEndIsNotConfiguredWithoutOptions(self) -> None:
        self.assertIsNone(self.options().interface.kernelEnd)

    def test_aHelperConfiguresTheKernelsEndInPlaceOfTheService(self) -> None:
        options = self.options("--helper", "/run/helper", "--mtu", "1400")
        self.assertEqual(options.kernelEnd, InterfaceSettings(mtu=1400, up=None))
        self.assertIsNone(options.interface.kernelEnd)

    def test_aQueueLengthOfZeroIsASetting(self) -> None:
        expected = InterfaceSettings(txqueuelen=0, up=None)
        self.assertEqual(self.options("--txqueuelen", "0").interface.kernelEnd, expected)


@pytest.mark.linux
class QueuesTests(SynchronousTestCase):
    """
    Tests for the settings of processes that share a device.
    """

    ARGUMENTS: ClassVar = [*HOST, "--queues", "3", "--mtu", "1400", "--hardened", "--undo", "--node", "/dev/net/tun"]

    def settings(self, *first: str) -> HostServiceSettings:
        options = HostOptions()
        options.parseOptions([*first, *self.ARGUMENTS])
        assert isinstance(options.settings, HostServiceSettings)
        return options.settings

    @pytest.mark.linux
    def test_theFirstProcessStartsTheOthers(self) -> None:
        settings = self.settings()
        queues = settings.queues
        assert queues is not None
        self.assertEqual((queues.processes, queues.node, settings.isQueue), (2, "/dev/net/tun", False))
        self.assertEqual(queues.command[-len(self.ARGUMENTS) - 3 :], ["tuntap", "host", "queue", *self.ARGUMENTS])

    def test_furtherProcessesConfigureNothing(self) -> None:
        settings = self.settings("queue")
        self.assertTrue(settings.isQueue)
        self.assertIsNone(settings.queues)
        interface = settings.interface
        self.assertEqual((interface.kernelEnd, interface.undo, interface.control), (None, False, False))
