"""
The handshake of two peers: an initiation, a response, and the keys that follow from both (Noise IKpsk2).

Read the whitepaper, section 5.4, first. These functions keep no time and send nothing: they take the octets of a
message and return the answer, or the keys. L{txtuntap.wireguard.cookies} adds the MACs.
"""

from __future__ import annotations

import attrs

from txtuntap.wire.wireguard import INITIATION, INITIATION_BODY, RESPONSE, RESPONSE_BODY
from txtuntap.wireguard.keys import PrivateKey
from txtuntap.wireguard.noise import FIRST_CHAIN_KEY, FIRST_HASH, derive, digest, seal, unseal


@attrs.frozen(repr=False)
class SessionKeys:
    """
    The keys of a session, 32 octets each.

    @ivar sending: seals the data messages that this end sends.
    @ivar receiving: opens those that it receives.
    """

    sending: bytes
    receiving: bytes


@attrs.frozen(repr=False)
class Initiated:
    """
    One end's state after an initiation, which it has sent or received.

    @ivar hash: the hash of all that both ends have said (H).
    @ivar chainKey: the chaining key (C).
    @ivar localIndex: the index that this end has chosen: the peer puts it into its messages.
    @ivar remoteIndex: the index that the peer has chosen; 0 as long as it has not answered.
    @ivar ephemeral: our ephemeral key, of the end that has sent the initiation.
    @ivar remoteEphemeral: the peer's ephemeral key, of the end that has received the initiation.
    """

    hash: bytes
    chainKey: bytes
    localIndex: int = 0
    remoteIndex: int = 0
    ephemeral: PrivateKey | None = None
    remoteEphemeral: bytes = b""


@attrs.frozen(repr=False)
class Introduction:
    """
    The first part of an initiation that has come: it tells which peer has sent it, if it is authentic.

    @ivar static: the public key of the peer that has sent it.
    """

    static: bytes
    message: bytes
    hash: bytes
    chainKey: bytes
    remoteIndex: int
    ephemeral: bytes


def createInitiation(
    private: PrivateKey, peer: bytes, shared: bytes, ephemeral: PrivateKey, index: int, timestamp: bytes
) -> tuple[bytes, Initiated]:
    """
    Make the initiation that begins a handshake.

    @param private: our key.
    @param peer: the public key of the peer.
    @param shared: what X25519 makes of both: it stays the same, so the caller keeps it.
    @param ephemeral: a new key, which is used for this message only.
    @param index: of 32 bits: the peer's answer has it.
    @param timestamp: 12 octets of TAI64N, later than in each initiation that the peer has had from us.

    @return: the message without its MACs, and our state.

    @raise ValueError: the peer's key has a low order.
    """
    chainKey, hashed = FIRST_CHAIN_KEY, digest(FIRST_HASH + peer)
    public = ephemeral.public
    (chainKey,) = derive(chainKey, public, 1)
    hashed = digest(hashed + public)
    chainKey, key = derive(chainKey, ephemeral.exchange(peer), 2)
    static = seal(key, private.public, hashed)
    hashed = digest(hashed + static)
    chainKey, key = derive(chainKey, shared, 2)
    sealed = seal(key, timestamp, hashed)
    hashed = digest(hashed + sealed)
    message = INITIATION_BODY.pack(INITIATION, index, public, static, sealed)
    return message, Initiated(hashed, chainKey, localIndex=index, ephemeral=ephemeral)


def readIntroduction(private: PrivateKey, message: bytes) -> Introduction | None:
    """
    Learn from an initiation who has sent it. One exchange of X25519, some 70 us.

    @param message: its MAC1 was checked, so its sender knows our public key.

    @return: C{None}: it is not authentic.
    """
    _, index, ephemeral, static, _ = INITIATION_BODY.unpack_from(message)
    chainKey, hashed = FIRST_CHAIN_KEY, digest(FIRST_HASH + private.public)
    (chainKey,) = derive(chainKey, ephemeral, 1)
    hashed = digest(hashed + ephemeral)
    try:
        chainKey, key = derive(chainKey, private.exchange(ephemeral), 2)
    except ValueError:
        # An ephemeral key of low order.
        return None
    peer = unseal(key, static, hashed)
    if peer is None:
        return None
    return Introduction(peer, message, digest(hashed + static), chainKey, index, ephemeral)


def readInitiation(introduction: Introduction, shared: bytes) -> tuple[bytes, Initiated] | None:
    """
    Read the rest of an initiation, by the key of the peer that has sent it.

    @param shared: what X25519 makes of our private key and the peer's public key.

    @return: the timestamp, and our state; C{None}: it is not authentic.
    """
    chainKey, key = derive(introduction.chainKey, shared, 2)
    *_, sealed = INITIATION_BODY.unpack_from(introduction.message)
    timestamp = unseal(key, sealed, introduction.hash)
    if timestamp is None:
        return None
    hashed = digest(introduction.hash + sealed)
    return timestamp, Initiated(
        hashed, chainKey, remoteIndex=introduction.remoteIndex, remoteEphemeral=introduction.ephemeral
    )


def createResponse(
    state: Initiated, peer: bytes, preshared: bytes, ephemeral: PrivateKey, index: int
) -> tuple[bytes, SessionKeys]:
    """
    Make the response that answers an initiation.

    @param state: what L{readInitiation} has returned.
    @param peer: the public key of the peer; C{preshared}: the key that both share in advance, or zeros.
    @param ephemeral: a new key, which is used for this message only.
    @param index: of 32 bits: the peer's data messages have it.

    @return: the message without its MACs, and the keys of the session.

    @raise ValueError: a key of the peer's has a low order.
    """
    public = ephemeral.public
    (chainKey,) = derive(state.chainKey, public, 1)
    hashed = digest(state.hash + public)
    (chainKey,) = derive(chainKey, ephemeral.exchange(state.remoteEphemeral), 1)
    (chainKey,) = derive(chainKey, ephemeral.exchange(peer), 1)
    chainKey, tau, key = derive(chainKey, preshared, 3)
    hashed = digest(hashed + tau)
    sealed = seal(key, b"", hashed)
    receiving, sending = derive(chainKey, b"", 2)
    message = RESPONSE_BODY.pack(RESPONSE, index, state.remoteIndex, public, sealed)
    return message, SessionKeys(sending, receiving)


def readResponse(
    state: Initiated, private: PrivateKey, preshared: bytes, message: bytes
) -> tuple[int, SessionKeys] | None:
    """
    Read the answer to an initiation of ours.

    @param state: what L{createInitiation} has returned.

    @return: the index that the peer has chosen, and the keys of the session; C{None}: it is not authentic.
    """
    assert state.ephemeral is not None
    _, remoteIndex, _, ephemeral, sealed = RESPONSE_BODY.unpack_from(message)
    (chainKey,) = derive(state.chainKey, ephemeral, 1)
    hashed = digest(state.hash + ephemeral)
    try:
        (chainKey,) = derive(chainKey, state.ephemeral.exchange(ephemeral), 1)
        (chainKey,) = derive(chainKey, private.exchange(ephemeral), 1)
    except ValueError:
        return None
    chainKey, tau, key = derive(chainKey, preshared, 3)
    if unseal(key, sealed, digest(hashed + tau)) is None:
        return None
    sending, receiving = derive(chainKey, b"", 2)
    return remoteIndex, SessionKeys(sending, receiving)
