"""Speed and memory, measured side by side: `make bench`, or `python benchmarks/bench ROW…`."""
