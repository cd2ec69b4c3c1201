"""
The segment size of a sender: the size that the route and the peer allow, or a smaller one that the search has found.
"""

from __future__ import annotations

from txtuntap.tcp.recovery import Phase, Recovery

#: The most flights that are retransmitted without a timeout because the path MTU has shrunk, until one of them is
#: acknowledged or the timer is due. Two flights suffice for a path with two links of smaller MTU. If the path has more,
#: the timer retransmits the data.
MOST_RESENDS = 2


class Sizing(Recovery):
    """
    The part of a L{Sender<txtuntap.tcp.sender.Sender>} that changes the size of segments.
    """

    __slots__ = ()

    def _sizeProbe(self, most: float, now: float) -> int:
        """
        Choose a larger segment size to probe (RFC 4821), after processing the outcome of the last probe.

        @param most: the octets that may be sent now.

        @return: the octets of data in the probe, which is sent as a segment of its own. 0: no probe is sent.
        """
        search = self.search
        if search.position >= 0:
            if self.acknowledged <= search.position:
                return 0
            self._resize(search.ended(self.segmentSize, self.board.largest, now))
        if now < search.nextAt or self.phase is not Phase.OPEN or most < search.size:
            return 0
        search.position = self.next
        return search.size

    def _resize(self, segmentSize: int) -> None:
        """
        Use another segment size from now on, also for retransmissions.
        """
        self.segmentSize = segmentSize
        self.control.segmentSizeChanged(segmentSize)

    def pathChanged(self, segmentSize: int) -> bool:
        """
        Use the segment size that the route has now. If it is smaller, retransmit unacknowledged larger segments at
        once.

        Anyone who sees an unacknowledged sequence number can forge ICMP errors, each with a size one octet smaller. So
        no more than L{MOST_RESENDS} flights are retransmitted until one is acknowledged.

        @param segmentSize: the octets of data in one segment.

        @return: whether all segments that are too large are retransmitted. Otherwise the timer retransmits them.
        """
        if segmentSize == self.search.most:
            return True
        before = self.segmentSize
        self.search.begin(segmentSize)
        self._resize(segmentSize)
        board = self.board
        if segmentSize >= before or not board.records:
            return True
        if self.acknowledged >= self._resendEnd:
            self._resends = 0
        if self._resends >= MOST_RESENDS:
            return False
        if board.markLargerLost(segmentSize):
            self._resends += 1
            self._resendEnd = self.next
            self._renoSacked = min(self._renoSacked, board.flight)
            if self.phase is not Phase.LOSS:
                # The loss does not indicate congestion, so the window stays the same.
                self.phase = Phase.LOSS
                self._isUndoable = self._frto = False
                self._recoverEnd = self.next
        return True
