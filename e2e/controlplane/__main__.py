"""`python -m e2e.controlplane`: build the programs, keep a cluster running, talk to it.

Called by the Makefile (`cluster-up`, `cluster-down`, `e2e`) and by people. Exit codes: 0 done,
1 failed, 2 wrong usage, 3 Go is missing or too old.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from e2e.controlplane.build import (
    CONTROLPLANE,
    DEFAULT,
    PROGRAMS,
    BuildError,
    GoMissingError,
    ensure,
)
from e2e.controlplane.cache import cache_dir, locked
from e2e.controlplane.client import Cluster, KubectlError, WaitTimeoutError
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.processes import ComponentError, running
from e2e.controlplane.realnode import product

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NO_GO = 3
IMAGE = "image"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options, rest = _parser().parse_known_args(arguments)
    if rest and options.command != "kubectl":
        _parser().error(f"unknown arguments: {' '.join(rest)}")
    try:
        return _run(options, rest)
    except GoMissingError as error:
        print(error, file=sys.stderr)
        return NO_GO
    except product.BaseError as error:
        print(f"The tests on a real node are left out: {error}", file=sys.stderr)
        return 0
    except (
        BuildError,
        ComponentError,
        KubectlError,
        OSError,
        WaitTimeoutError,
        product.ImageError,
    ) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; nothing of it is left running.", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.controlplane", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build what is not in the cache yet")
    build.add_argument(
        "program", nargs="*", choices=[*PROGRAMS, IMAGE, []], help="default: what a cluster needs"
    )
    for name, text in (
        ("up", "start a cluster that stays until `down`"),
        ("down", "end it"),
        ("status", "say whether it runs"),
        ("kubectl", "run kubectl on it: kubectl [--name NAME] ARGUMENT …"),
    ):
        commands.add_parser(name, help=text).add_argument("--name", default="default")
    return parser


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    if options.command == "build":
        for name in options.program or [program.name for program in DEFAULT]:
            print(product.image()[1] if name == IMAGE else ensure(PROGRAMS[name]))
        return 0
    folder = cache_dir() / "clusters" / options.name
    match options.command:
        case "up":
            return _up(folder)
        case "down":
            with locked(folder.with_suffix(".lock")):
                LocalCluster(folder, detached=True).stop()
            return 0
        case "status":
            return _status(folder)
        case _:
            return _kubectl(folder, rest)


def _up(folder: Path) -> int:
    start = time.monotonic()
    with locked(folder.with_suffix(".lock"), lambda: print("Waiting for another start …")):
        if _components(folder) and all(_components(folder).values()):
            print(f"Already up: export KUBECONFIG={folder / 'admin.kubeconfig'}")
            return 0
        cluster = LocalCluster(folder, detached=True).start()
    print(f"Ready after {time.monotonic() - start:.1f} s: export KUBECONFIG={cluster.kubeconfig}")
    return 0


def _components(folder: Path) -> dict[str, bool]:
    """Return for each recorded component whether it runs."""
    records = sorted((folder / "pids").glob("*.json"))
    return {path.stem.partition("-")[2]: running(path) is not None for path in records}


def _status(folder: Path) -> int:
    components = _components(folder)
    for name, up in components.items():
        print(f"{name}: {'running' if up else f'ended, see {folder}/logs/{name}.log'}")
    if not components:
        print(f"No cluster in {folder}")
    return 0 if components and all(components.values()) else 1


def _kubectl(folder: Path, arguments: list[str]) -> int:
    cluster = Cluster(folder / "admin.kubeconfig", (str(ensure(CONTROLPLANE)), "kubectl"))
    if cluster.kubeconfig.exists():
        command = [*cluster.kubectl_command, *arguments]
        sys.stdout.flush()
        os.execve(command[0], command, dict(cluster.environ()))
    print(f"No cluster in {folder}: run `python -m e2e.controlplane up`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
