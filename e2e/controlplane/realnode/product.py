"""The product's image for a real node, built from the Dockerfile that users build it from.

Users take Python's image as its base; here, where no registry is at hand, Debian's packages make
one. Results are kept in the user's cache: the base for good, the image by the content of what
goes into it. Each command runs in namespaces of its own, so that nothing of it stays behind.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from e2e.controlplane.cache import cache_dir, locked
from e2e.controlplane.realnode import needs

ROOT = Path(__file__).parents[3]
REPOSITORY = "fairstow.dev/e2e/fairstow"
_SUITE = "bookworm"
_PACKAGES = "python3,python3-venv,ca-certificates"
_UNNEEDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale")
_RECIPE = hashlib.sha256(repr((_SUITE, _PACKAGES, _UNNEEDED)).encode()).hexdigest()
_BASE = f"fairstow.dev/e2e/base:{_RECIPE[:12]}"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_KEPT = 3
_MANY = 100


class ImageError(Exception):
    """The image could not be built; the message holds the end of what was said."""


class BaseError(ImageError):
    """Debian's packages could not be had, so there is nothing to build the image on."""


def image() -> tuple[str, Path]:
    """Return the image's name and a docker-archive of it, built if need be. Raises ImageError."""
    name = f"{REPOSITORY}:{_content()}"
    archive = _folder() / f"{name.rpartition(':')[2]}.tar"
    with locked(_folder() / "lock", lambda: _say("Waiting for another build of images to end …")):
        if archive.exists():
            archive.touch()
        else:
            _build(name, archive)
            _forget_old()
    return name, archive


def _build(name: str, archive: Path) -> None:
    started = time.monotonic()
    if _buildah("images", "--quiet", _BASE, check=False).returncode:
        _build_base()
    _say("Building the product's image: about 2 min the first time, 15 s when only code changed …")
    settings = _client_settings()
    mounts = [f"--volume={source}:{target}:ro" for target, source in settings.items()]
    _buildah(
        *("bud", "--quiet", "--layers", "--network=host", f"--build-arg=BASE={_BASE}"),
        *(*mounts, f"--tag={name}", str(ROOT)),
    )
    draft = archive.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    _buildah("push", "--quiet", name, f"docker-archive:{draft}:{name}")
    draft.rename(archive)
    _say(f"Building the product's image: done in {time.monotonic() - started:.0f} s")


def _build_base() -> None:
    _say("Building a base image of Debian's packages: about 2 min …")
    with tempfile.TemporaryDirectory(dir=_folder()) as scratch:
        root = Path(scratch) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root)]
        reply = _run(command, check=False)
        if reply.returncode:
            raise BaseError(f"{' '.join(command)} failed:\n{_end(reply)}")
        for path in _UNNEEDED:
            shutil.rmtree(root / path, ignore_errors=True)
            (root / path).mkdir()
        container = _buildah("from", "scratch").stdout.strip()
        _buildah("add", "--quiet", container, str(root), "/")
        _buildah("config", "--cmd", "/bin/bash", container)
        _buildah("commit", "--quiet", "--rm", container, _BASE)


def _client_settings() -> dict[str, Path]:
    """Return files to lay over the build's: this machine's certificates, pip's and uv's index."""
    folder = _folder() / "settings"
    folder.mkdir(exist_ok=True)
    index = os.environ.get("PIP_INDEX_URL")
    pip = ["[global]", *([f"index-url = {index}"] if index else [])]
    uv = ["system-certs = true", *([f'index-url = "{index}"'] if index else [])]
    targets = {"/etc/pip.conf": folder / "pip.conf", "/etc/uv/uv.toml": folder / "uv.toml"}
    if _CERTIFICATES.exists():
        targets[str(_CERTIFICATES)] = _CERTIFICATES
        pip.append(f"cert = {_CERTIFICATES}")
    (folder / "pip.conf").write_text("\n".join(pip))
    (folder / "uv.toml").write_text("\n".join(uv))
    return targets


def _buildah(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    storage = ("--root", str(_folder() / "storage"), "--runroot", str(_folder() / "storage.run"))
    return _run(["buildah", *storage, *args], check=check)


def _run(command: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    scratch = _folder() / "scratch"  # uv's downloads stay here between builds
    scratch.mkdir(exist_ok=True)
    environ = {"PATH": needs.search_path(), "TMPDIR": str(scratch), "BUILDAH_ISOLATION": "chroot"}
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    reply = subprocess.run(
        [*alone, *command],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and reply.returncode:
        raise ImageError(f"{' '.join(command[:8])} … failed ({reply.returncode}):\n{_end(reply)}")
    return reply


def _end(reply: subprocess.CompletedProcess[str]) -> str:
    return "\n".join((reply.stdout + reply.stderr).splitlines()[-25:])


def _content() -> str:
    """Return a digest of all that goes into the image."""
    digest = hashlib.sha256(_BASE.encode())
    allowed = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    for name in ("Dockerfile", ".dockerignore", *allowed):
        path = ROOT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _forget_old() -> None:
    """Keep the newest archives, and the layers that builds start from until they are too many."""
    archives = sorted(_folder().glob("*.tar"), key=lambda path: path.stat().st_mtime)
    for archive in archives[:-_KEPT]:
        archive.unlink()
        _buildah("rmi", f"{REPOSITORY}:{archive.stem}", check=False)
    if _buildah("images", "--all", "--quiet").stdout.count("\n") > _MANY:
        _buildah("rmi", "--prune", "--force", check=False)


def _folder() -> Path:
    return cache_dir() / "images"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
