"""
Tests for programs that use a host in place of the reactor, by Twisted's own tests of its reactors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from .reactors import Alone, Linked, runModule

INTERFACE_NUMBER = "it wants the number that the kernel has for an interface"
INTERNALS = "it calls a method of Twisted's own transports that no interface has"
KERNEL_CLIENT = "its client is a socket of the kernel, which cannot reach a host"
SOCKET = "it looks at the socket of a transport, and there is none"
TRANSLATED = "it takes the address that listens for the one that connects, and here these are two hosts"
WORDING = "it compares the words of an error"

#: The tests that must fail, with the reason.
EXPECTED = {
    "TCP4ClientTestsBuilder.test_connectPortOverflow": WORDING,
    "TCP4ClientTestsBuilder.test_connectPortUnderflow": WORDING,
    "TCP6ClientTestsBuilder.test_addresses": INTERFACE_NUMBER,
    "TCP6ClientTestsBuilder.test_connectPortOverflow": WORDING,
    "TCP6ClientTestsBuilder.test_connectPortUnderflow": WORDING,
    "TCPConnectionTestsBuilder.test_resumeProducingWhileDisconnected": INTERNALS,
    "TCPPortTestsBuilder.test_buildProtocolIPv4Address": KERNEL_CLIENT,
    "TCPPortTestsBuilder.test_buildProtocolIPv6Address": KERNEL_CLIENT,
    "TCPPortTestsBuilder.test_buildProtocolIPv6AddressScopeID": KERNEL_CLIENT,
    "TCPPortTestsBuilder.test_serverGetHostOnIPv4": KERNEL_CLIENT,
    "TCPPortTestsBuilder.test_serverGetHostOnIPv6": KERNEL_CLIENT,
    "TCPPortTestsBuilder.test_serverGetHostOnIPv6ScopeID": KERNEL_CLIENT,
    "TCPPortTestsBuilder.test_serverGetPeerOnIPv4": KERNEL_CLIENT,
    "TCPPortTestsBuilder.test_serverGetPeerOnIPv6": KERNEL_CLIENT,
    "TCPPortTestsBuilder.test_serverGetPeerOnIPv6ScopeID": KERNEL_CLIENT,
    "TCPTransportTestsBuilder.test_writeSequenceWithUnicodeRaisesException": WORDING,
    "TestBindAddressBuilder.test_bindAddressBasic": SOCKET,
    "TestBindAddressBuilder.test_bindAddressLegacy": SOCKET,
    "TestBindAddressBuilder.test_bindAddressLegacyServerDefault": SOCKET,
    "TestBindAddressBuilder.test_bindAddressReuseAddr": SOCKET,
    "TestBindAddressBuilder.test_bindAddressReuseAddrPort": SOCKET,
    "TestBindAddressBuilder.test_bindAddressReusePort": SOCKET,
}

#: The tests that must fail between two hosts only.
EXPECTED_LINKED = {
    "TCP4ClientTestsBuilder.test_addresses": TRANSLATED,
    "TCP4ConnectorTestsBuilder.test_connectorIdentity": TRANSLATED,
    "TCPPortTestsBuilder.test_portGetHostOnIPv6": TRANSLATED,
    "TCPTransportTestsBuilder.test_serverAddressTCP4": TRANSLATED,
    "TCPTransportTestsBuilder.test_serverAddressTCP6": TRANSLATED,
    "TestBindAddressBuilder.test_bindAddressListenConsistent": TRANSLATED,
}


@pytest.mark.unix("the addresses of the machine, which Wine does not list")
class ReactorTests(SynchronousTestCase):
    def outcome(self, name: str, kind: Callable[[Any], Alone], least: int) -> None:
        """
        Run a module of Twisted's tests, and assert that exactly the expected ones fail. Tests that the installed
        Twisted or the machine lacks are skipped.

        @param least: the least number of tests in the module.
        """
        expected = EXPECTED if kind is Alone else {**EXPECTED, **EXPECTED_LINKED}
        ran, failed = runModule(f"twisted.internet.test.{name}", kind, expected)
        self.assertGreaterEqual(len(ran), least)
        missed = (set(expected) & ran) - set(failed)
        self.assertEqual(missed, set(), "expected to fail, and did not")
        unexpected = "\n".join(failed[case] for case in sorted(set(failed) - set(expected)))
        self.assertEqual(unexpected, "", f"failed, and should not have:\n{unexpected}")

    def test_tcpOfAHostToItself(self) -> None:
        self.outcome("test_tcp", Alone, 65)

    def test_tcpOfTwoHosts(self) -> None:
        self.outcome("test_tcp", Linked, 65)

    def test_tlsOfAHostToItself(self) -> None:
        self.outcome("test_tls", Alone, 20)

    def test_tlsOfTwoHosts(self) -> None:
        self.outcome("test_tls", Linked, 20)
