"""What the operator costs: memory, CPU time and delay from 500 to 5,000 nodes (see `__main__`)."""
