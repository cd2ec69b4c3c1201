"""
Tests for C{tuntap:} strings: how they are parsed, and how wrong ones are refused.
"""

from __future__ import annotations

import gc
import re

from twisted.internet.endpoints import quoteStringArgument

from tests.paths import CHECKOUT, DOCS
from tests.service.sharedhosts import NEAR, EndpointsTestCase

HOST = "tuntap:tap0:address=10.9.0.1/24"


class StringTests(EndpointsTestCase):
    """
    Tests for single strings, and for strings that share a host.
    """

    def refusal(self, string: str) -> str:
        """
        Return the text with which a wrong string is refused.
        """
        parse = self.client if "host" in string else self.server
        text = str(self.assertRaises(ValueError, parse, string))
        self.assertTrue(text.startswith("tuntap:"), text)
        # The names of options would mean nothing to the user of a string.
        self.assertNotIn("--", text)
        return text

    def test_wrongStringsAreRefused(self) -> None:
        for string, words in (
            # Required keys
            ("tuntap:port=80", "there is no name: give a string such as tuntap:tap0:"),
            (HOST, "there is no port: give a string such as tuntap:tap0:address=10.0.0.2/24:port=80"),
            ("tuntap:tap0:port=80", "gives the host's address, such as address=10.0.0.2/24"),
            (f"{HOST}:host=10.9.0.2", "there is no port: give a string such as tuntap:tap0:address=10.0.0.2/24:host="),
            # Names and values of keys
            (f"{HOST}:port=80:adress=10.9.0.3/24", "there is no key 'adress': there are name, port, address, mode,"),
            (f"{HOST}:port=80:timeout=3", "there is no key 'timeout'"),
            (f"{HOST}:port=80:host=10.9.0.2:backlog=3", "there is no key 'backlog'"),
            (f"{HOST}:port=80:mac=", "mac has no value"),
            ("tuntap:tap0:port=80:address=fd00::2/64", r"write a colon within a value as '\:'"),
            # Keys about ports
            (f"{HOST}:port=http", "port is a number from 0 to 65535, not 'http'"),
            (f"{HOST}:port=65536", "port is a number from 0 to 65535"),
            (f"{HOST}:port=-1", "port is a number from 0 to 65535"),
            (f"{HOST}:port=80:backlog=many", "backlog is a number from 0 on, not 'many'"),
            (f"{HOST}:port=80:interface=eth0", "eth0"),
            (f"{HOST}:host=10.9.0.2:port=0", "port is a number from 1 to 65535"),
            (f"{HOST}:host=10.9.0.2:port=80:timeout=0", "timeout is a number from 1 on"),
            (f"{HOST}:host=10.9.0.2:port=80:bindAddress=here", "such as '10.0.0.2'"),
            (f"{HOST}:host=www.example.com:port=80", "names cannot be resolved here: give an IP address"),
            # Keys about the host
            ("tuntap:a/b:port=80:address=10.9.0.1/24", "name: "),
            ("tuntap:tap0:port=80:address=10.9.0.1", "address: "),
            ("tuntap:tap0:port=80:address=10.9.0.1/24+", "address: "),
            ("tuntap:tap0:port=80:address=10.9.0.1/24+10.9.0.300/24", "address: "),
            (f"{HOST}:port=80:mode=bridge", "mode is tun or tap, not 'bridge'"),
            (f"{HOST}:port=80:gateway=10.9.0.3+10.9.0.4", "gateway: 10.9.0.4 is a second gateway of its IP version"),
            (f"{HOST}:port=80:mac=nonsense", "mac: "),
            (rf"{NEAR}:port=80:mac=02\:00\:00\:00\:00\:01", "mac: only a tap has a link address"),
            (f"{HOST}:port=80:kernel=10.9.0.1/24", "kernel: 10.9.0.1/24 is the host's address"),
            (f"{HOST}:port=80:kernel=10.8.0.1/24", "kernel: "),
            (f"{HOST}:port=80:netns=other:helper=/run/helper", "netns: with helper"),
        ):
            self.assertIn(words, self.refusal(string), string)

    def test_valuesWithoutKeysHaveTheOrderOfTCPEndpoints(self) -> None:
        for string in f"{HOST}:port=80", f"{HOST}:80", f"tuntap:name=tap0:{HOST.partition('tap0:')[2]}:port=80":
            self.assertEqual(self.server(string).arguments, (80, 50, ""))
        for string in f"{HOST}:10.9.0.2:80", f"{HOST}:host=10.9.0.2:80", f"{HOST}:10.9.0.2:port=80":
            self.assertEqual(self.client(string).arguments, ("10.9.0.2", 80, 30, None))

    def test_aPathMayContainColonsAndPlusSigns(self) -> None:
        path = quoteStringArgument("/run/a+b:c")
        self.server(f"{HOST}:port=80:helper={path}")

    def test_stringsCanBeWrappedByOtherEndpoints(self) -> None:
        self.server(f"haproxy:{NEAR}:port=80")
        quoted = quoteStringArgument(f"{NEAR}:host=10.9.0.2:port=443")
        self.client(f"tls:www.example.com:443:endpoint={quoted}")

    # Strings that share a host

    def test_aLaterStringMayOmitOrRepeatTheHost(self) -> None:
        kept = [
            self.server(rf"{HOST}+fd09\:\:1/64:port=80:mac=02\:00\:00\:00\:00\:0a:kernel=10.9.0.3/24+10.9.0.4/24"),
            self.server("tuntap:tap0:port=81"),
            self.client("tuntap:tap0:host=10.9.0.2:port=80"),
            # These strings describe the same host in another spelling.
            self.server(r"tuntap:tap0:port=82:address=FD09\:0\:\:1/64+10.9.0.1/24:mode=tap"),
            self.server(r"tuntap:tap0:port=83:mac=02-00-00-00-00-0A:kernel=10.9.0.4/24+10.9.0.3/24"),
        ]
        self.assertEqual(len({id(each.shared) for each in kept}), 1)

    def test_aDifferentHostIsRefused(self) -> None:
        kept = self.server(rf"{HOST}:port=80:gateway=10.9.0.9:mac=02\:00\:00\:00\:00\:0a:kernel=10.9.0.3/24")
        for rest, key in (
            ("address=10.9.0.2/24", "address"),
            ("address=10.9.0.1/24+10.9.0.2/24", "address"),
            ("mode=tun", "mode"),
            ("address=10.8.0.1/24", "address"),
            ("address=10.9.0.300/24", "address"),
            ("gateway=10.9.0.8", "gateway"),
            (r"mac=02\:00\:00\:00\:00\:0b", "mac"),
            ("kernel=10.9.0.4/24", "kernel"),
            ("netns=other", "netns"),
            ("helper=/run/helper", "helper"),
        ):
            text = self.refusal(f"tuntap:tap0:port=81:{rest}")
            self.assertIn(f"tuntap:tap0: {key} is ", text)
            self.assertIn("leave it out or say the same", text)
        # Another interface may have any host.
        other = self.server("tuntap:tun1:port=80:address=10.9.0.2/24:mode=tun")
        self.assertIsNot(kept.shared, other.shared)

    def test_anAdditionToTheHostIsRefused(self) -> None:
        kept = self.server(f"{HOST}:port=80")
        text = self.refusal("tuntap:tap0:port=81:gateway=10.9.0.9")
        self.assertIn("gateway is 10.9.0.9 here, and no gateway is given in the first endpoint", text)
        del kept

    def test_aHostWithoutEndpointsIsForgotten(self) -> None:
        self.server(f"{HOST}:port=80")
        self.server("tuntap:tap0:port=80:address=10.9.0.2/24")
        self.assertIn("first endpoint", self.refusal("tuntap:tap0:port=80"))

    def test_aHostInAReferenceCycleIsForgotten(self) -> None:
        self.addCleanup(gc.enable)
        gc.disable()
        cycle: list[object] = [self.server(f"{HOST}:port=80")]
        cycle.append(cycle)
        del cycle
        self.server("tuntap:tap0:port=80:address=10.9.0.2/24")

    def test_aHostIsRememberedWhileItListens(self) -> None:
        port = self.listen(f"{NEAR}:port=80")
        self.assertIn("address is ", self.refusal("tuntap:tun0:port=81:address=10.9.0.2/24:mode=tun"))
        self.stop(port)
        del port
        self.server("tuntap:tun0:port=81:address=10.9.0.2/24:mode=tun")

    def test_aHostIsRememberedWhileItIsConnected(self) -> None:
        port = self.listen("tuntap:tun1:port=80:address=10.9.0.2/24:mode=tun")
        client = self.connect(f"{NEAR}:10.9.0.2:80")
        self.assertIn("address is ", self.refusal("tuntap:tun0:port=81:address=10.9.0.7/24:mode=tun"))
        del client, port

    def test_eachReactorHasItsOwnHosts(self) -> None:
        kept = self.server(f"{HOST}:port=80")
        self.clock = type(self.clock)()
        self.assertIsNot(self.server("tuntap:tap0:address=10.9.0.2/24:port=80").shared, kept.shared)

    # Documentation

    def test_stringsOfTheDocumentationAreValid(self) -> None:
        found = 0
        for path in DOCS / "endpoints.md", CHECKOUT / "README.md", CHECKOUT / "txtuntap/service/endpoints.py":
            for paragraph in path.read_text().split("\n\n"):
                # The strings of one paragraph belong to one program.
                kept = []
                for string in re.findall(r"tuntap:\w+:[^\s'\"`]+", paragraph):
                    if string.endswith("..."):
                        continue
                    isClient = ":host=" in string or ":10.0.0.1:" in string
                    kept.append(self.client(string) if isClient else self.server(string))
                found += len(kept)
        self.assertGreater(found, 8)

    def test_theStringWithIPv6OfTheDocumentationWorks(self) -> None:
        string = r"tuntap:tap0:address=10.0.0.2/24+fd00\:\:2/64:port=80:kernel=10.0.0.1/24+fd00\:\:1/64"
        self.assertIn(string, (DOCS / "endpoints.md").read_text())
        # The devices of this case are tuns.
        self.listen(string.replace("tap0", "tun0").replace(":port", ":mode=tun:port"))
        self.assertEqual(self.made[0].host.addresses, ["10.0.0.2/24", "fd00::2/64"])
        self.assertEqual(self.configured, [("tun0", ["10.0.0.1/24", "fd00::1/64"])])
