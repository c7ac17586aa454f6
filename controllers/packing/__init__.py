"""The packing controllers: pools are described, policies decide, plans are carried out.

Each is a class with `run` (for good) and `turn` (once), made by `controllers.runtime`.
"""
