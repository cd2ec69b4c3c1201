"""
A whole run in which no private key, preshared key or key of a session is shown.
"""

from __future__ import annotations

import base64
import gc
from typing import Any

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.wireguard.test_protocol import KEYS, NetworkTestCase
from txtuntap.wireguard import Peer, keyText
from txtuntap.wireguard.configuration import Configuration
from txtuntap.wireguard.handshake import SessionKeys
from txtuntap.wireguard.session import Session
from txtuntap.wireguard.uapi import UAPIError, change, state

SHARED = bytes(range(100, 132))


def forms(key: bytes) -> set[str]:
    """
    How a key may look in a text.
    """
    return {key.hex(), repr(key), base64.b64encode(key).decode(), str(list(key)), str(int.from_bytes(key, "little"))}


class SecretTests(NetworkTestCase):
    """
    Logs, reprs and errors.
    """

    def test_noSecretIsShownInAWholeRun(self) -> None:
        secrets = [SHARED, *(key.secret() for key in KEYS)]
        texts: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            texts.append(formatEvent(event) + repr(sorted(event)))
            if "log_failure" in event:
                texts.append(event["log_failure"].getTraceback(detail="verbose"))

        begin = Session.__init__

        def begun(session: Any, keys: SessionKeys, *arguments: Any) -> None:
            secrets.extend((keys.sending, keys.receiving))
            texts.append(repr(keys))
            begin(session, keys, *arguments)

        def fails(peer: Peer) -> None:
            raise RuntimeError("of the application")

        self.patch(Session, "__init__", begun)
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        for wireguard in self.wireguards:
            wireguard.sessionBegun = wireguard.sessionEnded = wireguard.endpointChanged = fails
        self.knows(0, 1, "192.0.2.2:51820", keepalive=25, presharedKey=SHARED)
        self.knows(1, 0, presharedKey=SHARED)
        self.begin()
        self.assertTrue(self.ping(0, "10.0.0.2"))
        self.network.clock.advance(300)
        self.wireguards[0].setPrivateKey(KEYS[2])
        self.assertFalse(self.ping(0, "10.0.0.2"))
        self.wireguards[0].setPrivateKey(KEYS[0])
        for lines in (
            [f"private_key={KEYS[0].secret().hex()}0"],
            [f"private_key=x{KEYS[0].secret().hex()[1:]}"],
            [f"public_key={KEYS[1].public.hex()}", f"preshared_key={SHARED.hex()}0"],
            [f"public_key={KEYS[1].public.hex()}", f"preshared_key={SHARED.hex()[:-1]}x"],
        ):
            with self.assertRaises(UAPIError) as caught:
                change(self.wireguards[0], lines)
            cause = caught.exception.__cause__
            texts += [repr(caught.exception), str(caught.exception), repr(cause)]
        for key in f"{keyText(SHARED)}x", f"{keyText(KEYS[0].secret())}x", KEYS[0].secret() + b"x":
            for mistake in (
                lambda key=key: self.wireguards[0].setPrivateKey(key),
                lambda key=key: self.wireguards[0].changePeer(KEYS[1].public, presharedKey=key),
            ):
                with self.assertRaises(ValueError) as wrong:
                    mistake()
                texts.append(repr(wrong.exception))
        texts.append(repr(Configuration.of(f"[Interface]\nPrivateKey={keyText(KEYS[0].secret())}\n")))
        for wireguard in self.wireguards:
            wireguard.sessionEnded = None
        # Everything of the package that is alive.
        for each in gc.get_objects():
            if str(type(each).__module__).startswith("txtuntap.wireguard"):
                texts += [repr(each), str(each)]
        self.assertGreater(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.assertGreater(len(secrets), 5 + 2 * 4)
        whole = "\n".join(texts)
        self.assertIn("of the application", whole)
        self.assertIn(keyText(KEYS[0].public), whole)
        for secret in secrets:
            for form in forms(secret):
                self.assertNotIn(form, whole)
        # The interface of wg alone shows them, to root.
        self.assertIn(f"preshared_key={SHARED.hex()}", list(state(self.wireguards[0])))
