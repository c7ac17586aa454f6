"""Writes crds/ and docs/reference/ from the models in fairstow.api (`python -m tools.generate`)."""
