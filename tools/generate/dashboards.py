"""Writes the chart's Grafana dashboards: what is shown is the table in `boards`, how is here.

Called by tools.generate.__main__. For Grafana 11 and later. Every expression is run by the tests:
against the programs' own metrics (tests/monitoring) and by a real Prometheus (e2e/test_monitoring).
"""

from collections.abc import Iterator
from itertools import count

from grafana_foundation_sdk.builders import common, prometheus, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models

from tools.generate.boards import BOARDS, Board, Panel

FOLDER = "helm/fairstow/dashboards"
_SOURCE = models.DataSourceRef(type_val="prometheus", uid="$datasource")


def queries() -> Iterator[tuple[str, str]]:
    """Yield the title of a panel and each of its expressions."""
    for board in BOARDS:
        for row in board.rows:
            for panel in row.panels:
                for query in panel.queries:
                    yield f"{board.title}: {panel.title}", query.expression


def dashboards() -> dict[str, str]:
    """Return the dashboards' files by path."""
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return {f"{FOLDER}/{b.uid}.json": encoder.encode(_board(b).build()) + "\n" for b in BOARDS}


def _board(board: Board) -> builders.Dashboard:
    built = (
        builders.Dashboard(board.title)
        .uid(board.uid)
        .description(board.says)
        .tags(["fairstow"])
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("30s")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(
            builders.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
    )
    for label, metric in board.variables:
        built = built.with_variable(
            builders.QueryVariable(label)
            .label(label.capitalize())
            .query(f"label_values({metric}, {label})")
            .datasource(_SOURCE)
            .multi(multi=True)
            .include_all(include_all=True)
            .all_value(".*")
            .current(models.VariableOption(text="All", value="$__all"))
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
    ids = count(1)
    for row in board.rows:
        built = built.with_row(builders.Row(row.title).id(next(ids)))
        for panel in row.panels:
            built = built.with_panel(_panel(panel).id(next(ids)))
    return built


def _panel(panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.says)
        .unit(panel.unit)
        .min(0)
        .datasource(_SOURCE)
        .span(8)
        .height(8)
        .fill_opacity(10 if not panel.stacked else 40)
        .legend(
            common.VizLegendOptions()
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
    )
    if panel.stacked:
        built = built.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    for index, query in enumerate(panel.queries):
        built = built.with_target(
            prometheus.Dataquery()
            .expr(query.expression)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + index))
        )
    return built
