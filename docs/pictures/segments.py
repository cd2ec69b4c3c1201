"""
The picture of the segments of one connection, from its SYN to its end.
"""

from __future__ import annotations

from math import hypot

from docs.pictures.drawing import BOLD, box, line, picture, polygon, rect, text

HEIGHT = 772

ABOUT = (
    "A ladder of segments between your host and a peer, with 20 milliseconds for each way. At 0 milliseconds, the host"
    " sends a SYN. The peer keeps a half open record and answers with SYN+ACK. At 40 milliseconds, the host sends an"
    " ACK and six segments of data, and the third is lost. The peer acknowledges 1 and 2, and then three times 2 again,"
    " with SACKs for 4, 5 and 6, which wait. At 80 milliseconds, the third SACK marks 3 as lost, and the host sends it"
    " again. The peer gives 3 to 6 to its application, and acknowledges 6. At 120 milliseconds, the application of the"
    " host closes: FIN, FIN+ACK and ACK end the connection, and the host is in TIME-WAIT for 60 seconds."
)

#: The places of the two ends, and the pixels by which a segment descends on its way.
_NEAR, _FAR, _DESCENT = 190, 570, 34


def _ray(fromNear: bool, y: int, label: str, isLost: bool = False) -> list[str]:
    """
    Draw a segment on its way from one end, with its label above the beginning. A lost segment ends half way.
    """
    start, end = (_NEAR, _FAR) if fromNear else (_FAR, _NEAR)
    toX, toY = ((start + end) // 2, y + _DESCENT // 2) if isLost else (end, y + _DESCENT)
    length = hypot(toX - start, toY - y)
    alongX, alongY = (toX - start) / length, (toY - y) / length
    backX, backY = toX - 9 * alongX, toY - 9 * alongY
    corners = [(backX - 4 * alongY, backY + 4 * alongX), (backX + 4 * alongY, backY - 4 * alongX)]
    head = polygon("head", (toX, toY), *((round(x), round(y)) for x, y in corners))
    mark = text(toX + 8, toY + 5, "lost", more=BOLD) if isLost else ""
    where = ' text-anchor="end"' if not fromNear else ""
    return [line((start, y), (toX, toY)), head, mark, text(start + (8 if fromNear else -8), y - 3, label, more=where)]


def draw() -> str:
    """
    Draw the segments as a ladder: time passes from top to bottom.
    """
    near = ' text-anchor="end"'
    parts = [
        rect("clear", 0, 0, _NEAR, HEIGHT),
        rect("sealed", _FAR, 0, 760 - _FAR, HEIGHT),
        *box(40, 14, 130, 32, "your host", name="ours"),
        *box(590, 14, 130, 32, "the peer"),
        line((_NEAR, 20), (_NEAR, HEIGHT - 10)),
        line((_FAR, 20), (_FAR, HEIGHT - 10)),
        *_ray(True, 70, "SYN"),
        *_ray(False, 124, "SYN+ACK"),
        *_ray(True, 178, "ACK"),
        *(part for n in range(1, 7) for part in _ray(True, 178 + 20 * n, f"data {n}", isLost=n == 3)),
        *_ray(False, 352, "ACK 1"),
        *_ray(False, 374, "ACK 2"),
        *_ray(False, 400, "ACK 2, SACK 4"),
        *_ray(False, 426, "ACK 2, SACK 4 to 5"),
        *_ray(False, 452, "ACK 2, SACK 4 to 6"),
        *_ray(True, 506, "data 3 again"),
        *_ray(False, 560, "ACK 6"),
        *_ray(True, 614, "FIN"),
        *_ray(False, 668, "FIN+ACK"),
        *_ray(True, 722, "ACK"),
    ]
    for y, when, words in (
        (74, "0 ms", "SYN-SENT"),
        (162, "40 ms", "ESTABLISHED"),
        (222, "", "ten segments may leave,"),
        (238, "", "and there are six"),
        (390, "80 ms", ""),
        (438, "", "4 has arrived, 3 has not"),
        (492, "", "3 is marked as lost"),
        (598, "120 ms", ""),
        (618, "", "the application closes"),
        (708, "160 ms", ""),
        (726, "", "TIME-WAIT, 60 s"),
    ):
        parts.append(text(_NEAR - 10, y, words, more=near))
        parts.append(text(10, y, when, more=BOLD))
    for y, words in (
        (110, "a half open record"),
        (216, "a connection"),
        (248, "1 and 2 are delivered"),
        (316, "4, 5 and 6 wait for 3"),
        (546, "3 to 6 are delivered"),
        (654, "connectionLost"),
    ):
        parts.append(text(_FAR + 10, y, words))
    return picture(HEIGHT, "The life of a TCP connection", ABOUT, parts)
