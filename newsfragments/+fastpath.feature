**The fast path.** An ordinary packet of a known flow skips the layers between the port and its receiver. `docs/benchmarks.md` compares the speed with other packages.
