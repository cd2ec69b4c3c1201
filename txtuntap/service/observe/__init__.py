"""
The control socket and the metrics of a running service, by which it can be observed.
"""
