"""
Tests for the memory of connections.
"""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from benchmarks.children.idler import Peer

CONNECTIONS = 500


@pytest.mark.measures
def test_anIdleConnectionTakesAtMost4KiB() -> None:
    """
    An idle connection that was used once takes 4 KiB of memory at most, with the smallest protocol.
    """
    peer = Peer(2 * CONNECTIONS)
    for number in range(CONNECTIONS):
        peer.use(number)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(CONNECTIONS, 2 * CONNECTIONS):
            peer.use(number)
        peer.clock.advance(5)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peer.host.tcp.counters["currEstab"] == 2 * CONNECTIONS
    assert taken <= CONNECTIONS * 4096
