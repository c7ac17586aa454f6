"""Images for a real node: the product's, from the Dockerfile that users build it from, and tests'.

Users take Python's image as its base; here, where no registry is at hand, Debian's packages make
one. Results are kept in the user's cache: the base for good, images by the content of what
goes into them. Each command runs in namespaces of its own, so that nothing of it stays behind.
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
from e2e.engines.environments import InstallError
from tools import spark_plugin

ROOT = Path(__file__).parents[3]
_TESTS = "fairstow.dev/e2e"
REPOSITORY = f"{_TESTS}/fairstow"
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
    """Return the product's image and a docker-archive of it, built if need be.

    Raises ImageError.
    """
    try:
        spark_plugin.write()
    except (spark_plugin.NoJdkError, InstallError) as error:
        _say(f"The product's image is without the plugin for Spark: {error}")
    return _image(REPOSITORY, ROOT, _parts(), _folder())


def image_of(context: Path) -> tuple[str, Path]:
    """Return the image of a folder with a Dockerfile, likewise. Raises ImageError."""
    return _image(f"{_TESTS}/{context.name}", context, [context], _folder() / context.name)


def _image(repository: str, context: Path, parts: list[Path], folder: Path) -> tuple[str, Path]:
    """Return an image's name and archive. Args: parts: all that goes into it."""
    name = f"{repository}:{_content(context, parts)}"
    archive = folder / f"{name.rpartition(':')[2]}.tar"
    with locked(_folder() / "lock", lambda: _say("Waiting for another build of images to end …")):
        if archive.exists():
            archive.touch()
        else:
            folder.mkdir(exist_ok=True)
            _build(name, context, archive)
            _forget_old(repository, folder)
    return name, archive


def _build(name: str, context: Path, archive: Path) -> None:
    started = time.monotonic()
    if _buildah("images", "--quiet", _BASE, check=False).returncode:
        _build_base()
    _say(f"Building {name}: about 2 min the first time, 15 s when only code changed …")
    settings = _client_settings()
    mounts = [f"--volume={source}:{target}:ro" for target, source in settings.items()]
    _buildah(
        *("bud", "--quiet", "--layers", "--network=host", f"--build-arg=BASE={_BASE}"),
        *(*mounts, f"--tag={name}", str(context)),
    )
    draft = archive.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    _buildah("push", "--quiet", name, f"docker-archive:{draft}:{name}")
    draft.rename(archive)
    _say(f"Building {name}: done in {time.monotonic() - started:.0f} s")


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


def _parts() -> list[Path]:
    """Return what goes into the product's image."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    return [ROOT / name for name in ("Dockerfile", ".dockerignore", *allowed)]


def _content(context: Path, parts: list[Path]) -> str:
    """Return a digest of all that goes into an image."""
    digest = hashlib.sha256(_BASE.encode())
    for path in parts:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(context)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _forget_old(repository: str, folder: Path) -> None:
    """Keep the newest archives, and the layers that builds start from until they are too many."""
    archives = sorted(folder.glob("*.tar"), key=lambda path: path.stat().st_mtime)
    for archive in archives[:-_KEPT]:
        archive.unlink()
        _buildah("rmi", f"{repository}:{archive.stem}", check=False)
    if _buildah("images", "--all", "--quiet").stdout.count("\n") > _MANY:
        _buildah("rmi", "--prune", "--force", check=False)


def _folder() -> Path:
    return cache_dir() / "images"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
