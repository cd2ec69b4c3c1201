"""
TCP options in every form, valid and invalid. Read RFC 9293 section 3.2, RFC 7323 and RFC 2018 first.
"""

from __future__ import annotations

from tests.real.lab.segments import talk


def _answered(options: str, answer: str) -> str:
    return f"> S 0{options and f' <{options}>'}\n< SA 0 1 <{answer}>\n> R 1"


SYN = [
    talk(f"a SYN with {name}", _answered(options, answer))
    for name, options, answer in (
        ("no options", "", "mss"),
        ("a segment size", "mss", "mss"),
        ("a segment size of 0", "mss=0", "mss"),
        ("SACK alone", "nop nop sok", "mss nop nop sok"),
        ("a scale alone", "nop ws=2", "mss nop ws"),
        ("a scale of 15", "nop ws=15", "mss nop ws"),
        ("a scale of 0", "nop ws=0", "mss nop ws"),
        ("timestamps alone", "nop nop ts=5", "mss nop nop ts=5"),
        ("timestamps and SACK", "sok ts=5", "mss sok ts=5"),
        ("timestamps and a scale", "nop nop ts=5 nop ws=7", "mss nop nop ts=5 nop ws"),
        ("SACK and a scale", "nop nop sok nop ws=7", "mss nop nop sok nop ws"),
        ("all of them", "mss sok ts=5 nop ws=7", "mss sok ts=5 nop ws"),
        ("all of them in another order", "ws=7 nop ts=5 sok mss", "mss sok ts=5 nop ws"),
        ("two of each", "mss mss=536 sok sok ws=7 ws=3 nop nop", "mss nop nop sok nop ws"),
        ("an unknown option", "raw=fd04aabb mss", "mss"),
        ("an option that is too long", "raw=0205055a00 nop nop nop nop nop ws=7", "mss nop ws"),
        ("an option that is too short", "raw=0203aa nop nop nop nop nop ws=7", "mss nop ws"),
        ("an option of length 0", "raw=0200 nop ws=7", "mss"),
        ("an option of length 1", "raw=0201 nop ws=7", "mss"),
        ("an option beyond the header", "mss raw=fd0c0000", "mss"),
        ("a kind without a length", "mss nop nop nop raw=03", "mss"),
        ("an end before others", "mss end end end end ws=7 nop", "mss"),
        ("only padding", "nop nop nop nop", "mss"),
        ("forty octets of padding", " ".join(["nop"] * 40), "mss"),
        ("a SACK block", "mss raw=050a0000000100000002 nop nop", "mss"),
        ("a request for Fast Open", "mss raw=2202 nop nop", "mss"),
        ("timestamps of 0", "nop nop raw=080a0000000000000000", "mss nop nop ts=none"),
        ("an echoed timestamp", "nop nop ts=5/99", "mss nop nop ts=5"),
    )
] + [
    talk("a SYN with a signature", "> S 0 <mss raw=1312" + "00" * 16 + " nop nop>\n~ 0.1"),
    talk("a SYN that asks for ECN", "> SEC 0 <mss>\n< SAE 0 1 <mss>\n> R 1"),
    talk("a SYN with ECE alone", "> SE 0 <mss>\n< SA 0 1 <mss>\n> R 1"),
    talk("a SYN with CWR alone", "> SC 0 <mss>\n< SA 0 1 <mss>\n> R 1"),
    talk(
        "a SYN with data",
        "> S 0 <mss> : hello\n< SA 0 1 <mss>\n> A 1 1\n= made\n> PA 1 1 : hello\n< A 1 6\n= data hello\n"
        "> R 6\n= lost ConnectionLost",
    ),
]

SIZES = [
    talk(
        f"a segment size of {said}",
        f"""
        > S 0 {f"<mss={said}>" if said is not None else ""}
        < SA 0 1 <mss>
        > A 1 1
        = made
        ! nodelay
        ! write x*{3 * size}
        {f"< A 1 1 : {'x' * size}" if size < 11 else f"< A 1 1 : x*{size}"}
        < A {1 + size} 1 : x*{size}
        < {"PA" if size <= 100 else "A"} {1 + 2 * size} 1 : x*{size}
        > R 1
        = lost ConnectionLost
        """,
        versions=versions,
    )
    for said, size, versions in (
        (None, 536, (4,)),
        (None, 1220, (6,)),
        (0, 536, (4,)),
        (0, 1220, (6,)),
        (1, 48, (4, 6)),
        (40, 48, (4, 6)),
        (100, 100, (4, 6)),
        (536, 536, (4, 6)),
        (1300, 1300, (4, 6)),
    )
] + [
    talk(
        "a segment size of 48 beside timestamps",
        """
        > S 0 <mss=48 sok ts=0>
        < SA 0 1 <mss sok ts=0>
        > A 1 1 <nop nop ts=1>
        = made
        ! nodelay
        ! write x*108
        < A 1 1 <nop nop ts=1> : x*36
        < A 37 1 <nop nop ts=1> : x*36
        < PA 73 1 <nop nop ts=1> : x*36
        > R 1
        = lost ConnectionLost
        """,
    ),
    talk(
        "a segment size beyond the link",
        """
        > S 0 <mss=9000>
        < SA 0 1 <mss>
        > A 1 1
        = made
        ! write x*2920
        < A 1 1 : x*1460
        < A 1461 1 : x*1460
        > R 1
        = lost ConnectionLost
        """,
        versions=(4,),
    ),
]

_SACKS = """
    > PA 3 1{ts} : b
    < A 1 1 <{t}nop nop sack=3-4>
    > PA 5 1{ts} : c
    < A 1 1 <{t}nop nop sack=5-6,3-4>
    > PA 7 1{ts} : d
    < A 1 1 <{t}nop nop sack=7-8,5-6,3-4>
    > PA 9 1{ts} : e
    < A 1 1 <{t}nop nop sack={four}>
    > PA 11 1{ts} : f
    < A 1 1 <{t}nop nop sack={five}>
    > PA 5 1{ts} : c
    < A 1 1 <{t}nop nop sack={repeated}>
    > PA 4 1{ts} : x
    L< A 1 1 <{t}nop nop sack={joined}>
    H< A 1 1 <{t}nop nop sack={ours}>
    > R 1
    = lost ConnectionLost
"""

ESTABLISHED = [
    talk(
        "SACK: four blocks without timestamps",
        "open sok\n"
        + _SACKS.format(
            ts="",
            t="",
            four="9-10,7-8,5-6,3-4",
            five="11-12,9-10,7-8,5-6",
            repeated="5-6,5-6,11-12,9-10",
            joined="4-6,11-12,9-10,7-8",
            ours="3-6,11-12,9-10,7-8",
        ),
        "SACK: what joins two blocks",
    ),
    talk(
        "SACK: three blocks beside timestamps",
        "open ts\n"
        + _SACKS.format(
            ts=" <nop nop ts=2>",
            t="nop nop ts=1 ",
            four="9-10,7-8,5-6",
            five="11-12,9-10,7-8",
            repeated="5-6,5-6,11-12",
            joined="4-6,11-12,9-10",
            ours="3-6,11-12,9-10",
        ),
        "SACK: what joins two blocks",
    ),
    talk(
        "SACK: what came before is a duplicate below the acknowledgment",
        """
        open sok
        > PA 1 1 : hello
        < A 1 6
        = data hello
        > PA 1 1 : hello
        < A 1 6 <nop nop sack=1-6>
        > PA 3 1 : llo
        < A 1 6 <nop nop sack=3-6>
        > PA 4 1 : lo+world
        < A 1 12 <nop nop sack=4-6>
        = data +world
        > R 12
        = lost ConnectionLost
        """,
    ),
    talk(
        "no SACK was agreed on: none is sent",
        """
        open
        > PA 3 1 : b
        < A 1 1
        > PA 3 1 : b
        < A 1 1
        > PA 1 1 : aa
        < A 1 4
        = data aab
        > PA 1 1 : aa
        < A 1 4
        > R 4
        = lost ConnectionLost
        """,
    ),
    *(
        talk(
            f"established: {name}",
            f"""
            open
            > PA 1 1 <{options}> : hello
            < A 1 6
            = data hello
            > R 6
            = lost ConnectionLost
            """,
        )
        for name, options in (
            ("an unknown option", "raw=fd04aabb"),
            ("options of a SYN again", "mss=9 sok ws=3 nop"),
            ("timestamps that were not agreed on", "nop nop ts=7"),
            ("SACK blocks that were not agreed on", "nop nop sack=1-2"),
            ("an option of length 0", "raw=fd000000"),
            ("an option beyond the header", "raw=fdff0000"),
            ("timestamps of another length", "raw=080b00000000000000000000"),
        )
    ),
    talk(
        "timestamps: one that lacks them",
        """
        open ts
        > PA 1 1 : hello
        < A 1 6 <nop nop ts=1>
        = data hello
        > R 6
        = lost ConnectionLost
        """,
    ),
    talk(
        "timestamps: an older one",
        """
        open ts
        > PA 1 1 <nop nop ts=5> : a
        < A 1 2 <nop nop ts=5>
        = data a
        > PA 2 1 <nop nop ts=3> : b
        < A 1 2 <nop nop ts=5>
        > PA 2 1 <nop nop ts=5> : b
        < A 1 3 <nop nop ts=5>
        = data b
        > PA 4 1 <nop nop ts=9> : d
        < A 1 3 <nop nop ts=5 nop nop sack=4-5>
        > PA 3 1 <nop nop ts=8> : c
        < A 1 5 <nop nop ts=8>
        = data cd
        > R 5 <nop nop ts=1>
        = lost ConnectionLost
        """,
    ),
    talk(
        "timestamps: in another place",
        """
        open ts
        > PA 1 1 <ts=5 nop nop> : a
        < A 1 2 <nop nop ts=5>
        = data a
        > PA 2 1 <nop ts=6 nop> : b
        < A 1 3 <nop nop ts=6>
        = data b
        > R 3
        = lost ConnectionLost
        """,
    ),
    talk(
        "a window scale",
        """
        open ws w1
        ! nodelay
        ! write xxxx
        < PA 1 1 : xxxx
        ! write x
        > A 1 5 w2
        < PA 5 1 : x
        > R 1
        = lost ConnectionLost
        """,
    ),
]

CONVERSATIONS = [*SYN, *SIZES, *ESTABLISHED]
