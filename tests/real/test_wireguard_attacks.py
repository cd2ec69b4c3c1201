"""
Messages of strangers, and messages that are sent again, between C{twistd tuntap wireguard} and wireguard-go; and both
under load.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import pytest

from tests.real.lab.namespace import until
from tests.real.lab.tunnel import Place
from tests.real.lab.wireguard import PORT, End, Pair, Wire, isData, isInitiation, message
from tests.real.test_wireguard import ENDS, chosen
from txtuntap.wire.wireguard import (
    COOKIE_REPLY,
    COOKIE_REPLY_LENGTH,
    DATA,
    INITIATION,
    INITIATION_BODY,
    INITIATION_LENGTH,
    MAC_LENGTH,
    RESPONSE,
    RESPONSE_BODY,
)
from txtuntap.wireguard.cookies import CookieHolder
from txtuntap.wireguard.kernelsocket import UDP_SEGMENT

#: Messages that one system call sends, the calls one after another, and the seconds until the next ones.
#: wireguard-go is under load once 128 messages wait, and for a second; this package by their rate. Between the bursts,
#: others get through.
AT_ONCE, CALLS, PAUSE = 64, 8, 0.3


@contextmanager
def stranger(place: Place, other: End) -> Iterator[socket.socket]:
    """
    Make a socket in a namespace, whose port no end has heard of, and connect it to an end.
    """
    with place.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as made:
        made.connect((other.outer[0], PORT))
        made.setblocking(False)
        yield made


def forged(other: End, kind: int = INITIATION) -> bytes:
    """
    A handshake message for an end by a sender that knows its public key, and no more.
    """
    body = INITIATION_BODY if kind == INITIATION else RESPONSE_BODY
    octets = kind.to_bytes(4, "little") + os.urandom(body.size - 4)
    return CookieHolder(other.key.public).sign(octets, 0)


def answers(asking: socket.socket) -> list[bytes]:
    """
    The datagrams that a socket has received.
    """
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(asking.recv(65535))
    return found


@ENDS
def test_dataThatIsSentAgainIsNotDelivered(wireguards: Pair, isOurs: bool) -> None:
    wireguards.begin()
    target, sender = chosen(wireguards, isOurs)
    number = wireguards.both.index(target)
    with Wire(wireguards.places) as wire:
        sender.place.pings(target.inner[0], 5)
        captured = [frame for frame in wire.heard(number) if isData(frame)]
        assert len(captured) >= 5
        before = target.delivered
        for frame in captured:
            wire.send(number, frame)
        # This packet comes after all of them.
        sender.place.pings(target.inner[0], 1)
    assert target.delivered == before + 1
    assert wireguards.ours.counter("inReplays") == (len(captured) if isOurs else 0)


@ENDS
def test_anInitiationThatIsSentAgainHasNoAnswer(wireguards: Pair, isOurs: bool) -> None:
    target, sender = chosen(wireguards, isOurs)
    number = wireguards.both.index(target)
    with Wire(wireguards.places) as wire:
        wireguards.begin(sender)
        (captured,) = filter(isInitiation, wire.heard(number))
        before = target.lastHandshake
        wire.heard(1 - number)
        for _ in range(3):
            wire.send(number, captured)
        sender.pings(target)
        if isOurs:
            until(lambda: wireguards.ours.counter("inOldTimestamps") == 3, "old timestamps")
        kinds = {message(frame)[:1] for frame in wire.heard(1 - number)}
    assert bytes([RESPONSE]) not in kinds and bytes([DATA]) in kinds
    target.pings(sender)
    assert target.lastHandshake == before


@ENDS
def test_aResponseThatIsSentAgainChangesNothing(wireguards: Pair, isOurs: bool) -> None:
    target, responder = chosen(wireguards, isOurs)
    number = wireguards.both.index(target)
    with Wire(wireguards.places) as wire:
        wireguards.begin(target)
        (captured,) = (frame for frame in wire.heard(number) if message(frame)[:1] == bytes([RESPONSE]))
        before = target.lastHandshake
        wire.heard(1 - number)
        for _ in range(3):
            wire.send(number, captured)
        target.pings(responder)
        if isOurs:
            until(lambda: wireguards.ours.counter("inUnknownIndexes") == 3, "responses that are refused")
        kinds = {message(frame)[:1] for frame in wire.heard(1 - number)}
    assert bytes([INITIATION]) not in kinds and bytes([DATA]) in kinds
    responder.pings(target)
    assert target.lastHandshake == before
    assert target.shown("endpoints") == responder.endpoint()


@ENDS
def test_aStrangerMovesNoEndpointAndHearsNothing(wireguards: Pair, isOurs: bool) -> None:
    target, sender = chosen(wireguards, isOurs)
    number = wireguards.both.index(target)
    with Wire(wireguards.places) as wire, stranger(sender.place, target) as asking:
        wireguards.begin(sender)
        captured = [message(frame) for frame in wire.heard(number) if isInitiation(frame) or isData(frame)]
        changed = [each[:-20] + bytes([each[-20] ^ 1]) + each[-19:] for each in captured]
        short = [each[:-1] for each in captured]
        for each in [
            *captured,
            *changed,
            *short,
            forged(target),
            forged(target, RESPONSE),
            b"",
            b"x",
            os.urandom(1400),
        ]:
            asking.send(each)
        sender.pings(target)
        target.pings(sender)
        assert target.shown("endpoints") == sender.endpoint()
        assert answers(asking) == []
    if isOurs:
        counters = wireguards.ours.service.counters("wireguard")
        wanted = {"inReplays", "inOldTimestamps", "inMacErrors", "inUnauthentic", "inErrors", "inHandshakeErrors"}
        assert wanted <= set(counters), counters


@contextmanager
def flooded(place: Place, other: End, made: Callable[[], bytes]) -> Iterator[socket.socket]:
    """
    Send handshake messages to an end within a context manager, in bursts.
    """
    octets = b"".join(made() for _ in range(AT_ONCE))
    end = Event()
    with stranger(place, other) as asking:
        asking.setsockopt(socket.SOL_UDP, UDP_SEGMENT, INITIATION_LENGTH)

        def flood() -> None:
            while not end.wait(PAUSE):
                for _ in range(CALLS):
                    with suppress(BlockingIOError):
                        asking.send(octets)

        flooding = Thread(target=flood, daemon=True)
        flooding.start()
        try:
            yield asking
        finally:
            end.set()
            flooding.join()


@ENDS
def test_anEndUnderLoadAnswersWithCookiesAndServesThatThatReturnsThem(wireguards: Pair, isOurs: bool) -> None:
    loaded, comer = chosen(wireguards, isOurs)
    number = wireguards.both.index(loaded)
    wireguards.start(comer)
    with flooded(comer.place, loaded, lambda: forged(loaded)) as asking, Wire(wireguards.places) as wire:
        cookies: list[bytes] = []

        def isLoaded() -> bool:
            cookies.extend(answers(asking))
            return bool(cookies)

        until(isLoaded, "a cookie for a stranger")
        heard: list[bytes] = []

        def reaches() -> bool:
            found = comer.reaches(loaded)
            heard.extend(filter(isInitiation, wire.heard(number)))
            return found

        until(reaches, "a session under load")
        cookies += answers(asking)
        proven = [each for each in map(message, heard) if any(each[-MAC_LENGTH:])]
    # Nothing but cookies, each of which is shorter than what it answers.
    assert {(each[0], len(each)) for each in cookies} == {(COOKIE_REPLY, COOKIE_REPLY_LENGTH)}
    assert proven
    assert comer.lastHandshake
    if isOurs:
        assert wireguards.ours.counter("outCookieReplies") > 1
    else:
        assert wireguards.ours.counter("inCookieReplies") >= 1


@pytest.mark.parametrize("isForUs", [True, False], ids=["for us", "for another"])
def test_aSessionGoesOnUnderAFloodOfHandshakes(wireguards: Pair, isForUs: bool) -> None:
    ours, theirs = wireguards.both
    wireguards.begin()
    target = ours if isForUs else theirs
    with flooded(theirs.place, ours, lambda: forged(target)):
        name = "outCookieReplies" if isForUs else "inMacErrors"
        until(lambda: ours.counter(name) > AT_ONCE, "the flood")
        theirs.place.pings(ours.inner[0], 5)
        ours.place.pings(theirs.inner[0], 5)
