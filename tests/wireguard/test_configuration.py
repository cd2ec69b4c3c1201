"""
Tests for the configuration file of WireGuard.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.wireguard.configuration import Configuration, ConfigurationError
from txtuntap.wireguard.keys import PrivateKey, keyText

PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
PUBLIC = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="

FILE = f"""
# A comment
[interface]
PrivateKey = {PRIVATE}   # and another
ListenPort=51820
FwMark = 0xca6c
Address = 10.7.0.1/24, fd00::1/64
Address = 10.8.0.1
DNS = 10.7.0.53, example.com
MTU = 1380
Table = 1234
SaveConfig = true

[Peer]
PublicKey = {PUBLIC}
PresharedKey = {PRIVATE}
AllowedIPs = 10.7.0.2/32, fd00::/64
allowedips = 10.9.1.2/16
Endpoint = vpn.example : 51820
PersistentKeepalive = 25

[PEER]
Publickey = {PRIVATE}
PersistentKeepalive = off
AllowedIPs =
"""


class ConfigurationTests(SynchronousTestCase):
    """
    Reading and writing of files.
    """

    def refused(self, text: str) -> str:
        """
        Why a text is no configuration.
        """
        with self.assertRaises(ConfigurationError) as caught:
            Configuration.of(text)
        return str(caught.exception)

    def test_eachKey(self) -> None:
        found = Configuration.of(FILE)
        assert found.privateKey is not None
        self.assertEqual(found.privateKey, PrivateKey(PRIVATE))
        self.assertEqual((found.listenPort, found.fwmark, found.mtu, found.table), (51820, 0xCA6C, 1380, "1234"))
        self.assertEqual([str(each) for each in found.addresses], ["10.7.0.1/24", "fd00::1/64", "10.8.0.1/32"])
        self.assertEqual((found.nameServers, found.searchDomains), (["10.7.0.53"], ["example.com"]))
        self.assertTrue(found.saveConfig)
        one, other = found.peers
        self.assertEqual(keyText(one.publicKey), PUBLIC)
        assert one.presharedKey is not None
        self.assertEqual(keyText(one.presharedKey), PRIVATE)
        self.assertEqual([str(each) for each in one.allowed], ["10.7.0.2/32", "fd00::/64", "10.9.0.0/16"])
        self.assertEqual((one.endpoint, one.keepalive), ("vpn.example:51820", 25))
        self.assertEqual((other.allowed, other.endpoint, other.keepalive), ([], None, 0))

    def test_whatIsWrittenIsReadAlike(self) -> None:
        found = Configuration.of(FILE)
        again = Configuration.of(found.text())
        self.assertEqual(again, found)
        self.assertEqual(Configuration.of(Configuration().text()), Configuration())

    def test_hooksAreNotKept(self) -> None:
        found = Configuration.of("[Interface]\nPostUp = rm -rf / # %i\nPreDown=x\n")
        self.assertEqual(found.hooks, ["PostUp", "PreDown"])
        self.assertNotIn("rm", repr(found) + found.text())

    def test_mistakesAreNamed(self) -> None:
        for text, said in (
            ("PrivateKey = x", "line 1: expected [Interface]"),
            ("[Interface]\nPrivateKey = secret", "line 2: a private key is 32 octets"),
            ("[Interface]\nEndpoint = a:1", "line 2: 'Endpoint' is no key of [Interface]"),
            ("[Interface]\n\nlistenport = 65536", "line 3: ListenPort is a number from 0 to 65535, not '65536'"),
            ("[Interface]\nMTU = ten", "MTU is a number"),
            ("[Interface]\nTable = main", "Table is auto, off, or its number"),
            ("[Interface]\nSaveConfig = yes", "SaveConfig is true or false"),
            ("[Interface]\nAddress = 10.0.0.300", "10.0.0.300"),
            ("[Interface]\nFwMark = -1", "FwMark is a number"),
            ("[Peer]\nAllowedIPs = 10.0.0.0/8", "a [Peer] has no PublicKey"),
            (f"[Peer]\n[Peer]\nPublicKey = {PUBLIC}", "a [Peer] has no PublicKey"),
            (f"[Peer]\nPublicKey = {PUBLIC}\nEndpoint = here", "an endpoint is HOST:PORT"),
            (f"[Peer]\nPublicKey = {PUBLIC}\nPersistentKeepalive = 70000", "PersistentKeepalive is a number"),
            ("[Other]", "expected [Interface]"),
        ):
            self.assertIn(said, self.refused(text))

    def test_noKeyIsRepeated(self) -> None:
        for line in ("PrivateKey = ", "PresharedKey = "):
            section = "[Interface]" if line.startswith("Private") else f"[Peer]\nPublicKey = {PUBLIC}"
            self.assertNotIn("c2VjcmV0", self.refused(f"{section}\n{line}c2VjcmV0"))
        self.assertNotIn(PRIVATE, repr(Configuration.of(FILE).privateKey))

    @given(st.text())
    def test_anyTextIsReadOrRefused(self, text: str) -> None:
        for start in "", "[Interface]\n", f"[Peer]\nPublicKey = {PUBLIC}\n":
            try:
                Configuration.of(start + text)
            except ConfigurationError as e:
                self.assertTrue(str(e))
