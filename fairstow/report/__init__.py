"""The report: a decision as one self-contained HTML page, and its picture as SVG.

Who calls it: the command line (`--report out.html`); later the page that the operator serves.
Pure string building: no script, no network, nothing but the standard library.
"""

from fairstow.report.page import page
from fairstow.report.picture import picture

__all__ = ["page", "picture"]
