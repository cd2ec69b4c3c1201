**Simulated networks.** `Network` builds hosts, switches and bad links in memory from a few lines. Time is simulated, and a seed repeats each packet (`docs/network.md`).
