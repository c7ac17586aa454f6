"""GPTCache's look-ups, run by a Python that has it (`peers.py`): SQLite and FAISS, its usual pair.

    python -m … ENTRIES LOOKUPS        prints JSON

Without Fairstow: only numpy and the workload beside this file are imported.
"""

import json
import os
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
workload: Any = import_module("workload")


def main() -> None:
    """Fill a cache, look up, print seconds of CPU and hits."""
    entries, asked = int(sys.argv[1]), int(sys.argv[2])
    os.chdir(tempfile.mkdtemp())
    made: Any = import_module("gptcache")
    manager: Any = import_module("gptcache.manager")
    get: Any = import_module("gptcache.adapter.api").get
    distance: Any = import_module("gptcache.similarity_evaluation.distance")
    texts, vectors = workload.entries(entries)
    known = dict(zip(texts, vectors, strict=True))
    looked_up = workload.lookups(texts, vectors, asked)
    known.update({text: vector for text, vector, _ in looked_up})
    cache = made.Cache()
    cache.init(
        pre_embedding_func=lambda data, **_: data["prompt"],
        embedding_func=lambda text, **_: known[text],
        data_manager=manager.get_data_manager(
            manager.CacheBase("sqlite"),
            manager.VectorBase("faiss", dimension=workload.DIMENSION),
            max_size=10 * entries,
        ),
        similarity_evaluation=distance.SearchDistanceEvaluation(),
        config=made.Config(similarity_threshold=0.9),
    )
    for start in range(0, entries, 1_000):
        part = texts[start : start + 1_000]
        cache.import_data(part, [f"answer to {text}" for text in part])
    wall, began, hits, right = [], time.process_time(), 0, 0
    for text, _, at in looked_up:
        started = time.perf_counter()
        said = get(text, cache_obj=cache)
        wall.append(time.perf_counter() - started)
        hits += said is not None
        right += said is not None and at >= 0 and said == f"answer to {texts[at]}"
    cpu = time.process_time() - began
    wall.sort()
    shares = {"hits": hits / asked, "right": right / asked}
    print(json.dumps({"cpu": cpu / asked, "p50": wall[asked // 2]} | shares))


if __name__ == "__main__":
    main()
