"""How many whole nodes of 8 GPUs come free with N moves: the planner beside a greedy baseline."""
