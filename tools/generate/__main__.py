"""`python -m tools.generate [--check]`: write what the code generates, or compare with it.

With --check nothing is written: the exit status is 1 and each file that differs is named.
"""

import argparse
import sys
from pathlib import Path

from fairstow.api import KINDS
from tools.generate import chart, dashboards, permissions
from tools.generate.crd import as_yaml, custom_resource_definition, schemas
from tools.generate.reference import reasons_page, reference_page
from tools.generate.schema import SchemaError

ROOT = Path(__file__).resolve().parents[2]


def generated() -> dict[str, str]:
    """Return the text of every generated file by its path from the repository's root."""
    files = {
        "docs/reference/reasons.md": reasons_page(),
        "fairstow/api/schemas.json": schemas(),
        permissions.PAGE: permissions.page(),
        permissions.CHART_FILE: permissions.chart_file(),
        f"{chart.CHART}/files/scheduler.json": chart.scheduler_configuration(),
        f"{chart.CHART}/README.md": chart.readme(ROOT),
    }
    files |= dashboards.dashboards()
    for kind in KINDS:
        files[f"{chart.CRDS}/{kind.resource.plural}.yaml"] = chart.chart_crd(kind)
        files[f"crds/{kind.resource.plural}.yaml"] = as_yaml(custom_resource_definition(kind))
        files[f"docs/reference/{kind.__name__.lower()}.md"] = reference_page(kind)
    return dict(sorted(files.items()))


def differing(files: dict[str, str], root: Path) -> list[str]:
    """Return a line for each file under `root` that is missing, different or not generated."""
    lines = []
    for name, text in files.items():
        path = root / name
        if not path.exists():
            lines.append(f"{name}: missing")
        elif path.read_text(encoding="utf-8") != text:
            lines.append(f"{name}: differs from its source")
    lines += [f"{path.relative_to(root)}: no longer generated" for path in _extra(files, root)]
    return lines


def _extra(files: dict[str, str], root: Path) -> list[Path]:
    folders = (
        "crds/*.yaml",
        "docs/reference/*.md",
        f"{chart.CRDS}/*.yaml",
        f"{dashboards.FOLDER}/*.json",
    )
    present = [path for pattern in folders for path in root.glob(pattern)]
    return sorted(path for path in present if str(path.relative_to(root)) not in files)


def write(files: dict[str, str], root: Path) -> None:
    """Make `root` hold exactly these generated files."""
    for path in _extra(files, root):
        path.unlink()
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args(arguments)
    try:
        files = generated()
    except SchemaError as error:
        print(f"can't generate: {error}", file=sys.stderr)
        return 1
    if not options.check:
        write(files, root)
        return 0
    lines = differing(files, root)
    for line in lines:
        print(line, file=sys.stderr)
    if lines:
        print("run `make generate` and commit the result", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
