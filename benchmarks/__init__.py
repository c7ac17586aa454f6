"""Speed and quality against what is published: one module per table, bounds in bounds.yaml."""
