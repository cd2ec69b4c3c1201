"""
The picture of the parts of TCP.
"""

from __future__ import annotations

from docs.pictures.drawing import BOLD, arrow, box, picture, text

HEIGHT = 420

ABOUT = (
    "The fast path takes an ordinary segment of a known connection from the port. Each other segment climbs through"
    " IPProtocol, and its connection is looked up. A segment of no connection goes to the part that answers SYNs, with"
    " half open records, SYN cookies and TIME-WAIT. A segment of a connection goes to the connection. Its receiver"
    " puts data in order for the transport and the application. Its sender keeps unacknowledged data on the"
    " scoreboard, which detects losses, and congestion control and recovery decide how much is sent. Segments go down"
    " to IPProtocol as superpackets."
)


def draw() -> str:
    """
    Draw the path of a segment through TCP.
    """
    parts = [
        *box(20, 20, 720, 32, "the application: a Protocol, by its transport (transport.py)"),
        *box(20, 120, 210, 60, "receiver.py", "data in order; the window", name="ours"),
        *box(275, 120, 210, 60, "connection.py", "the states of RFC 9293", name="ours"),
        *box(530, 120, 210, 60, "sender.py, output.py", "what is sent, and when", name="ours"),
        *box(530, 210, 210, 60, "scoreboard.py, recovery.py", "losses: SACK, RACK, PRR", name="ours"),
        *box(530, 300, 210, 44, "congestion.py, cubic.py, rtt.py", name="ours"),
        *box(20, 210, 210, 60, "flow.py: the fast path", "ordinary segments", name="ours"),
        *box(275, 210, 210, 60, "layer.py", "finds the connection", name="ours"),
        *box(185, 296, 300, 52, "unconnected.py, halfopen.py", "SYNs, cookies, TIME-WAIT, resets", name="ours"),
        *box(140, 376, 600, 32, "IPProtocol"),
        *box(20, 376, 105, 32, "the port"),
        arrow((125, 120), (125, 52)),
        arrow((635, 52), (635, 120)),
        text(135, 90, "dataReceived", more=BOLD),
        text(645, 90, "write", more=BOLD),
        arrow((275, 150), (230, 150)),
        arrow((485, 150), (530, 150)),
        arrow((380, 210), (380, 180)),
        arrow((125, 210), (125, 180)),
        arrow((80, 376), (80, 270)),
        arrow((380, 270), (380, 296)),
        arrow((507, 376), (507, 255), (485, 255)),
        arrow((740, 135), (752, 135), (752, 390), (740, 390)),
        arrow((635, 210), (635, 180)),
        arrow((635, 300), (635, 270)),
    ]
    return picture(HEIGHT, "The parts of TCP", ABOUT, parts)
