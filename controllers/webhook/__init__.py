"""The admission webhook's program: the API server asks, fairstow/packing/admission answers.

Run by operator/webhook.py. `app` has the paths, `access` asks who may approve, `watched` keeps what
is known of the cluster, `serve` runs it all under TLS.
"""
