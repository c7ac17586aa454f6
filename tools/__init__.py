"""Development tools: generators, set-up, the demo. Not part of the wheel."""
