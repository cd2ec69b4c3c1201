"""
The picture of a simulated network.
"""

from __future__ import annotations

from docs.pictures.drawing import BOLD, WIDTH, box, line, picture, rect, text

HEIGHT = 290

ABOUT = (
    "A Network with a clock, a seed and two switches. Two hosts are linked to the first switch. A link with a delay of"
    " 30 milliseconds and a loss of 1 percent joins both switches. A third host is linked to the second switch, by a"
    " radio link with a loss of 10 percent. Everything is in memory, and its time is simulated."
)


def draw() -> str:
    """
    Draw a network of three hosts at two switches.
    """
    parts = [
        rect("clear", 0, 0, WIDTH, HEIGHT),
        text(20, 26, "Network(seed=1): in memory, in simulated time", more=BOLD),
        *box(40, 60, 190, 50, "Host 10.0.0.1", "your server", name="ours"),
        *box(40, 200, 190, 50, "Host 10.0.0.2", name="ours"),
        *box(530, 200, 190, 50, "Host 10.0.0.3", "your client", name="ours"),
        *box(290, 130, 100, 50, "Switch"),
        *box(530, 60, 190, 50, "Switch"),
        line((230, 85), (340, 85), (340, 130)),
        line((230, 225), (340, 225), (340, 180)),
        line((390, 155), (460, 155), (460, 85), (530, 85)),
        line((625, 110), (625, 200)),
        text(468, 150, "delay 30ms loss 1%"),
        text(633, 170, "loss 10%"),
    ]
    return picture(HEIGHT, "A simulated network", ABOUT, parts)
