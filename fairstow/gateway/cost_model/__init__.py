"""A server that speaks vLLM's API over the cost model: no GPU, true time, deterministic text."""
