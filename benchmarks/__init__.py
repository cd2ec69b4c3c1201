"""
txtuntap beside C{twisted.pair}, each pair of figures taken in turns in one run: C{python -m benchmarks}.

What counts is the ratio. The figures it is made of depend on the machine, and on what else that does.
"""
