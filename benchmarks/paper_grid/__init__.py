"""The grid of arXiv 2511.08373: when the default scheduler gives up, how often is a plan better?

Same instance generator, same grid, same categories; `python -m benchmarks.paper_grid`.
"""
