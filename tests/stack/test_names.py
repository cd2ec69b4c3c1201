"""
Tests for L{txtuntap.stack.names}: name resolution of a host.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolverSimple
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from txtuntap.stack.names import HostNames


class Receiver:
    """
    Records the addresses that a resolver finds.
    """

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.complete = False

    def resolutionBegan(self, resolution: Any) -> None:
        assert verifyObject(IHostResolution, resolution)

    def addressResolved(self, address: Any) -> None:
        self.found.append(address)

    def resolutionComplete(self) -> None:
        self.complete = True


@implementer(IResolverSimple)
class Simple:
    """
    A resolver that knows one name.
    """

    def getHostByName(self, name: str, timeout: Any = ()) -> Deferred[str]:
        return succeed("10.0.0.9") if name == "nine.example" else fail(DNSLookupError(name))


class NamesTests(SynchronousTestCase):
    def find(self, names: HostNames, name: str, *arguments: Any) -> list[Any]:
        receiver: Any = Receiver()
        names.resolveHostName(receiver, name, *arguments)
        self.assertTrue(receiver.complete)
        return list(receiver.found)

    def test_theInterfaceOfAResolverIsProvided(self) -> None:
        self.assertTrue(verifyObject(IHostnameResolver, HostNames({})))

    def test_aNameOfTheTableIsFound(self) -> None:
        names = HostNames({"WWW.example.": ["10.0.0.7", "fd00::0:7"], "other.example": "10.0.0.8"})
        four, six = IPv4Address("TCP", "10.0.0.7", 80), IPv6Address("TCP", "fd00::7", 80)
        self.assertEqual(self.find(names, "www.Example", 80), [four, six])
        self.assertEqual(self.find(names, "www.example", 80, [IPv6Address]), [six])
        self.assertEqual(self.successResultOf(names.lookup("other.example.")), "10.0.0.8")

    def test_addressesAndLocalhostAreFound(self) -> None:
        names = HostNames({})
        self.assertEqual(self.find(names, "::0:1", 1), [IPv6Address("TCP", "::1", 1)])
        self.assertEqual(self.successResultOf(names.lookup("localhost")), "127.0.0.1")

    def test_theErrorForAnUnknownNameSaysWhatToGive(self) -> None:
        self.assertEqual(self.find(HostNames({}), "www.example"), [])
        failure: Any = self.failureResultOf(HostNames({}).lookup("www.example"), DNSLookupError)
        self.assertIn("Host(hosts={name: address})", str(failure.value))

    def test_theResolverIsAskedForOtherNames(self) -> None:
        names = HostNames({"nine.example": "10.0.0.1"}, Simple())
        self.assertEqual(self.successResultOf(names.lookup("nine.example")), "10.0.0.1")
        names = HostNames({}, Simple())
        self.assertEqual(self.successResultOf(names.lookup("nine.example")), "10.0.0.9")
        self.failureResultOf(names.lookup("ten.example"), DNSLookupError)

    def test_wrongArgumentsAreRefused(self) -> None:
        self.assertRaises(TypeError, HostNames, {}, object())
        self.assertRaises(ValueError, HostNames, {"a.example": "ten"})
        self.assertRaises(ValueError, HostNames, {"a.example": ["10.0.0.1", "10.0.0.1/24"]})
