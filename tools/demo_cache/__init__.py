"""The demo of the semantic cache: `make demo-cache`."""
