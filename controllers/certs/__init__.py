"""Keeps our certificates: those of webhook, extender and scheduler, and who trusts them.

Run by the operator while it holds its Lease, unless cert-manager makes them. What to do is decided
in fairstow/kube/certificates.py; `keep` asks it again and again, `secrets` reads and writes.
"""
