"""A whole Kubernetes control plane on this machine, for tests: no Docker, no root, no cloud.

`provider.provide` is what the pytest fixtures use, `python -m e2e.controlplane` what people use.
"""
