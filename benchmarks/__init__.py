"""
Benchmarks that compare txtuntap with its peers, such as C{twisted.pair}. Run them with C{python -m benchmarks}.

Both subjects of a comparison are measured in turns, in the same run. Compare the ratios: the figures themselves depend
on the machine and on its other load.
"""
