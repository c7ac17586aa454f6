"""When a pool is packed, how far, and what became of it: the rules of PackingPolicy and GpuPool.

Pure. Called by controllers/packing, which reads the cluster, asks here, and carries out the answer.
"""
