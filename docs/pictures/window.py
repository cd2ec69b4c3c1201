"""
The picture of the windows of a sender of TCP.
"""

from __future__ import annotations

from docs.pictures.drawing import BOLD, MIDDLE, arrow, box, line, picture, rect, text

HEIGHT = 190

ABOUT = (
    "The octets that an application has written, in a row. The first part is acknowledged and forgotten. The second"
    " part is sent and in flight, and is kept until it is acknowledged. The third part may be sent now. The fourth part"
    " has to wait. The second and the third part together are as long as the smaller one of two windows: the"
    " peer's window, and the congestion window."
)


def draw() -> str:
    """
    Draw the octets of a stream in four parts.
    """
    parts = [
        text(20, 26, "the octets that the application has written", more=BOLD),
        rect("clear", 20, 40, 150, 56),
        text(95, 64, "acknowledged,", more=MIDDLE),
        text(95, 80, "forgotten", more=MIDDLE),
        *box(170, 40, 230, 56, "in flight", "kept until acknowledged", name="ours"),
        *box(400, 40, 170, 56, "may be sent now"),
        rect("sealed", 570, 40, 170, 56),
        text(655, 72, "has to wait", more=MIDDLE),
        line((170, 108), (170, 120), (570, 120), (570, 108)),
        text(370, 140, "the smaller one of the peer's window and the congestion window", more=MIDDLE),
        arrow((300, 170), (440, 170)),
        text(20, 174, "An acknowledgment moves it to the right:"),
    ]
    return picture(HEIGHT, "The windows of a sender", ABOUT, parts)
