"""
A L{WireGuard} that is made from a configuration file, and the file that is written from its state.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from twisted.logger import Logger

from txtuntap.service.options.wireguardfile import WireGuardSettings
from txtuntap.wireguard.configuration import Configuration, PeerConfiguration
from txtuntap.wireguard.protocol import WireGuard

_log = Logger()


def makeWireGuard(settings: WireGuardSettings, reactor: Any) -> WireGuard:
    """
    Make a WireGuard with the peers of a configuration, and log the warnings about the file.
    """
    configuration = settings.configuration
    wireguard = WireGuard(configuration.privateKey, configuration.listenPort, reactor, fwmark=configuration.fwmark)
    for peer in configuration.peers:
        addPeer(wireguard, peer)
    for warning in settings.warnings:
        _log.warn("{warning}", warning=warning)
    return wireguard


def addPeer(wireguard: WireGuard, peer: PeerConfiguration) -> None:
    """
    Add a peer of a configuration; or change it, if the file has it twice.
    """
    try:
        wireguard.peer(peer.publicKey)
    except KeyError:
        wireguard.addPeer(peer.publicKey)
    for network in peer.allowed:
        wireguard.allow(peer.publicKey, network)
    wireguard.changePeer(
        peer.publicKey, endpoint=peer.endpoint, keepalive=peer.keepalive or None, presharedKey=peer.presharedKey
    )


def saveIfAsked(wireguard: WireGuard, settings: WireGuardSettings) -> None:
    """
    Write the state of a running WireGuard into its file, if the file says so (C{SaveConfig}). If that fails, log a
    warning.
    """
    if settings.configuration.saveConfig and settings.path is not None and wireguard.numPorts:
        try:
            save(wireguard, settings.configuration, settings.path)
        except OSError as e:
            _log.warn("{path} is left as it is: {reason}", path=settings.path, reason=e.strerror)


def save(wireguard: WireGuard, configuration: Configuration, path: str) -> None:
    """
    Write the state of a WireGuard into its file.

    @param configuration: the contents of the file. The settings that C{wg} cannot change stay as they are.

    @raise OSError: the file cannot be written.
    """
    configuration.privateKey = wireguard.privateKey
    configuration.listenPort, configuration.fwmark = wireguard.listenPort, wireguard.fwmark
    # An endpoint whose name was not found yet is known from the file alone.
    endpoints = {peer.publicKey: peer.endpoint for peer in configuration.peers}
    configuration.peers = [
        PeerConfiguration(
            peer.publicKey,
            peer.presharedKey if peer.hasPresharedKey else None,
            list(peer.allowed),
            endpoints.get(peer.publicKey) if peer.endpoint is None else str(peer.endpoint),
            peer.keepalive,
        )
        for peer in wireguard.peers
    ]
    new = f"{path}.new"
    # A file that is left from a crash may have another mode.
    with suppress(FileNotFoundError):
        os.unlink(new)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(configuration.text())
            file.flush()
            os.fsync(descriptor)
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            os.unlink(new)
        raise
