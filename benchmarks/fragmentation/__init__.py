"""The GPU fragmentation benchmark: FGD's protocol on the openb trace (see `__main__`)."""
