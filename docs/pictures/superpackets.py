"""
The picture of datagrams that travel as one superpacket.
"""

from __future__ import annotations

from docs.pictures.drawing import BOLD, WIDTH, arrow, box, picture, rect, text

HEIGHT = 290

ABOUT = (
    "Above: without superpackets, the kernel hands five datagrams to the program by five reads, and each passes all"
    " layers. Below: the kernel hands over one superpacket by one read. It has one header, the segment size and the"
    " payload of five datagrams. It passes the layers once, and is cut where the application receives five datagrams."
)


def draw() -> str:
    """
    Draw five datagrams without and with a superpacket.
    """
    parts = [rect("clear", 0, 0, WIDTH, 140), text(20, 22, "single datagrams: five reads", more=BOLD)]
    parts += box(20, 40, 90, 84, "kernel")
    parts += box(300, 40, 200, 84, "the layers,", "five times", name="ours")
    parts += box(640, 40, 100, 84, "application")
    for number in range(5):
        y = 50 + 16 * number
        parts += [arrow((110, y), (180, y)), *box(180, y - 6, 60, 12), arrow((240, y), (300, y))]
        parts.append(arrow((500, y), (640, y)))
    parts.append(text(20, 168, "a superpacket: one read", more=BOLD))
    parts += box(20, 184, 90, 84, "kernel")
    parts += [
        arrow((110, 226), (130, 226)),
        *box(130, 212, 150, 28, "header | 1 2 3 4 5"),
        arrow((280, 226), (300, 226)),
    ]
    parts += box(300, 184, 200, 84, "the layers,", "once", name="ours")
    parts += box(540, 212, 60, 28, "cut", name="ours")
    parts.append(arrow((500, 226), (540, 226)))
    parts += box(640, 184, 100, 84, "application")
    for number in range(5):
        y = 194 + 16 * number
        parts.append(arrow((600, 226), (616, 226), (616, y), (640, y)))
    return picture(HEIGHT, "Single datagrams and a superpacket", ABOUT, parts)
