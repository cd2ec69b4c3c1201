"""
The segment size that a sender uses: the one that the route and the peer allow, or what the search has found.
"""

from __future__ import annotations

from txtuntap.tcp.recovery import Phase, Recovery

#: Flights that are sent again at once because the path has narrowed, until one of them is acknowledged or the timer has
#: run out. A path may have two narrow links, one after another; more are met by the timer.
MOST_RESENDS = 2


class Sizing(Recovery):
    """
    The part of a L{Sender<txtuntap.tcp.sender.Sender>} that changes the size of segments.
    """

    __slots__ = ()

    def _sizeProbe(self, most: float, now: float) -> int:
        """
        Choose a larger segment size to try (RFC 4821), and take the outcome of the last try.

        @param most: the octets that may leave now.

        @return: the octets of a segment that is to be sent alone; 0: none is.
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
        Send segments of another size from now on; what is lost, too.
        """
        self.segmentSize = segmentSize
        self.control.segmentSizeChanged(segmentSize)

    def pathChanged(self, segmentSize: int) -> bool:
        """
        The route takes segments of another size now. Send again at once what is under way in larger ones.

        Anyone who sees a sequence number that is under way can forge errors that name a size smaller by an octet each.
        So no more than L{MOST_RESENDS} flights are sent again until one is acknowledged.

        @param segmentSize: octets of data in one segment.

        @return: whether all that is too large is sent again; otherwise the timer finds it.
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
        if board.loseLarger(segmentSize):
            self._resends += 1
            self._resendEnd = self.next
            self._renoArrived = min(self._renoArrived, board.flight)
            if self.phase is not Phase.LOSS:
                # The loss is no congestion: the window stays.
                self.phase = Phase.LOSS
                self._isUndoable = self._frto = False
                self._recoverEnd = self.next
        return True
