"""Builds the Spark plugin's jar, with javac against the jars that PySpark's package carries.

`make spark-plugin` and builds of the product's image write it to dist/, tests keep it in the cache.
One jar serves Spark 3.5 and 4: it asks for nothing whose signature names a Scala collection, which
differ, and is Java 8 bytecode.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from e2e.controlplane.cache import cache_dir, locked
from e2e.engines import environments

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "fairstow" / "spark" / "plugin"
NAME = "fairstow-spark.jar"
RELEASE = "8"
# What a zip can say at the least: the same sources make the same bytes.
NO_DATE = (1980, 1, 1, 0, 0, 0)


class NoJdkError(Exception):
    """There is no Java compiler here; the message says what to install."""


def jdk() -> Path:
    """Return the home of a JDK: $JAVA_HOME, else that of the javac on the PATH."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("javac", path=f"{home}/bin" if home else None)
    if found is None:
        raise NoJdkError(
            "no javac here; Spark's plugin is Java. On Debian or Ubuntu: "
            "sudo apt-get install default-jdk-headless (make setup-system does)"
        )
    return Path(found).resolve().parents[1]


def jars(python: Path) -> Path:
    """Return the folder of jars of the PySpark in an environment."""
    (found,) = python.parents[1].glob("lib/python*/site-packages/pyspark/jars")
    return found


def compile_java(sources: list[Path], classpath: str, into: Path) -> None:
    """Compile Java sources. Raises CalledProcessError; javac has said why."""
    javac = jdk() / "bin" / "javac"
    options = ["--release", RELEASE, "-Xlint:all,-options,-path,-classfile,-processing", "-Werror"]
    subprocess.run(
        [str(javac), *options, "-cp", classpath, "-d", str(into), *map(str, sources)], check=True
    )


def pack(classes: Path, jar: Path) -> None:
    """Write a folder of classes as a jar."""
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_DEFLATED) as archive:
        for found in sorted(classes.rglob("*.class")):
            entry = zipfile.ZipInfo(found.relative_to(classes).as_posix(), NO_DATE)
            archive.writestr(entry, found.read_bytes(), zipfile.ZIP_DEFLATED)


def plugin() -> Path:
    """Return the plugin's jar, made for these sources if it isn't there."""
    sources = sorted(SOURCES.rglob("*.java"))
    key = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    place = cache_dir() / "engines" / f"spark-plugin-{key}"
    with locked(place.with_suffix(".lock")):
        jar = place / NAME
        if not jar.exists():
            against = f"{jars(environments.spark())}/*"
            place.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory() as folder:
                compile_java(sources, against, Path(folder))
                pack(Path(folder), place / "new")
            (place / "new").rename(jar)
    return jar


def write() -> Path:
    """Write dist/fairstow-spark.jar, from where the image and releases take it; return its path.

    Raises:
        NoJdkError: there is no Java compiler.
        InstallError: PySpark can't be had.
    """
    target = ROOT / "dist" / NAME
    built = plugin()
    if not target.exists() or target.read_bytes() != built.read_bytes():
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(built, target)
    return target


def main() -> int:
    """Write the jar, and say so."""
    try:
        target = write()
    except (NoJdkError, environments.InstallError) as error:
        print(f"Spark's plugin can't be built: {error}", file=sys.stderr)
        return 1
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
