"""Amounts in sentences: short, and never rounded so far that what they say becomes false."""

from fairstow.cluster.quantity import render
from fairstow.cluster.rules import Deficit

_UNITS = (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))
_BYTES = ("memory", "ephemeral-storage")


def in_bytes(resource: str) -> bool:
    """Whether a resource is counted in bytes."""
    return resource in _BYTES or resource.startswith("hugepages-")


def exact(resource: str, value: int) -> str:
    """Write an amount without rounding: `57036Mi`, where `render` says `55.7Gi`."""
    if in_bytes(resource):
        for suffix, size in _UNITS:
            if value and value % size == 0:
                return f"{value // size}{suffix}"
        return str(value)
    return render(resource, value)


def shortage(deficit: Deficit) -> str:
    """Say what a node is short of: `short 1 nvidia.com/gpu: 4 asked, 3 free`."""
    name, asked, free = deficit.resource, deficit.wanted, max(deficit.free, 0)
    written = [render(name, amount) for amount in (deficit.missing, asked, free)]
    if written[1] == written[2]:
        written = [exact(name, amount) for amount in (deficit.missing, asked, free)]
    said = f"short {written[0]} {name}: {written[1]} asked, {written[2]} free"
    over = -deficit.free
    return said + (f" ({render(name, over)} over capacity)" if over > 0 else "")
