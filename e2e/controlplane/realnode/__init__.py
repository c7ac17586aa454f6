"""A real node for the local cluster: kubelet, containerd, kube-proxy and CoreDNS.

Everything runs in namespaces of its own, so that the machine's addresses, firewall rules, mounts
and processes stay as they were. node.py says how; cluster.py starts it.
"""
