"""The compiled libraries of the cache, loaded in the one order that works.

onnxruntime (1.32) loaded after usearch (2.26) ends the process with SIGSEGV. Before it is loaded it
has to be told not to report to its maker, or to keep an id under the home folder. Imported by
`embedding` and `partition`; nobody else imports these libraries.
"""

from __future__ import annotations

import importlib.util
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
if importlib.util.find_spec("onnxruntime") is not None:
    import onnxruntime  # noqa: F401 - before usearch
from usearch.index import Index as Graph
from usearch.index import search as nearest

__all__ = ["Graph", "nearest"]
