"""Images without a container engine or a registry: docker-archives that containerd imports."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def of_programs(archive: Path, programs: Mapping[str, Path], name: str) -> None:
    """Write an image that holds static programs, each by its path, and runs the first."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for path, binary in programs.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.mode = 0o755
            entry.size = binary.stat().st_size
            with binary.open("rb") as content:
                tar.addfile(entry, content)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    settings = {
        "architecture": {"aarch64": "arm64"}.get(platform.machine(), "amd64"),
        "os": "linux",
        "config": {"Entrypoint": [next(iter(programs))], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, "config.json", _json(settings))
        _add(tar, "layer.tar", layer.getvalue())
        _add(tar, "manifest.json", _json(manifest))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
