"""The page: its parts in Dash, filled by functions of `assets/dashboard.js` that ask `data` every few seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dash
import flask
from dash import ClientsideFunction, Input, Output, State, dcc, html

from analyzer.dashboard.panels import MARKET, SYSTEM, Panel
from analyzer.dashboard.ranges import DEFAULT_RANGE, RANGES

ASSETS = Path(__file__).parent / "assets"
POLL_MS = 5000
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
INDEX = """<!doctype html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
{%css%}
</head>
<body>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>
"""


def build(server: flask.Flask) -> dash.Dash:
    """The page on a Flask server. Nothing in it comes from elsewhere, and its headers forbid that."""
    flask_server: Any = server  # Dash's annotation leaves out what its documentation names
    app = dash.Dash(
        "evenkeel",
        server=flask_server,
        assets_folder=str(ASSETS),
        index_string=INDEX,
        title="Evenkeel",
        update_title="",
        serve_locally=True,
        eager_loading=False,
        add_log_handler=False,
        enable_mcp=False,
        meta_tags=[
            {"charset": "utf-8"},
            {"name": "viewport", "content": "width=device-width, initial-scale=1"},
            {"name": "color-scheme", "content": "light dark"},
        ],
    )
    app.layout = layout()
    callbacks(app)
    # Plotly puts styles into the page.
    policy = (
        f"default-src 'self'; script-src 'self' {' '.join(app.csp_hashes())}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )

    @server.after_request
    def guard(response: flask.Response) -> flask.Response:
        response.headers.update(HEADERS)
        response.headers.setdefault("Content-Security-Policy", policy)
        return response

    return app


def layout() -> html.Div:
    return html.Div(
        [
            dcc.Location(id="url", refresh=False),
            dcc.Interval(id="tick", interval=POLL_MS),
            dcc.Store(id="scheme"),
            dcc.Store(id="symbols"),
            dcc.Store(id="status"),
            dcc.Store(id="system"),
            dcc.Store(id="market"),
            html.A("Skip to the charts", href="#system-title", className="skip"),
            html.Header(
                [
                    html.H1("Evenkeel"),
                    html.Div(
                        [
                            html.Label("Symbol", htmlFor="symbol", id="symbol-label"),
                            dcc.Dropdown(
                                id="symbol",
                                options=[],
                                clearable=False,
                                placeholder="nothing is recorded yet",
                            ),
                        ],
                        className="choice symbol-choice",
                    ),
                    html.Fieldset(
                        [
                            html.Legend("Time range, to now"),
                            dcc.RadioItems(
                                id="range",
                                options=[{"label": one.label, "value": one.name} for one in RANGES.values()],
                                value=DEFAULT_RANGE,
                                inline=True,
                                className="segments",
                            ),
                        ],
                        className="choice",
                    ),
                    html.P("", id="clock", className="clock"),
                ]
            ),
            html.Main(
                [
                    html.Div(id="banner", role="status", **_aria(live="polite")),
                    html.Section(id="tiles", className="tiles", **_aria(label="Status")),
                    _section("system", html.H2("Recording", id="system-title", tabIndex=-1), SYSTEM),
                    _section("market", html.H2("Market", id="market-title"), MARKET),
                    html.Section(
                        [html.H2("Alerts", id="alerts-title", tabIndex=-1), html.Div(id="alerts")],
                        **_aria(labelledby="alerts-title"),
                    ),
                ]
            ),
        ]
    )


def _aria(**attributes: str) -> dict[str, Any]:
    return {f"aria-{name}": value for name, value in attributes.items()}


def _section(name: str, heading: html.H2, panels: Sequence[Panel]) -> html.Section:
    grid = html.Div([_panel(panel) for panel in panels], id=f"{name}-panels", className="grid")
    return html.Section([heading, grid], **_aria(labelledby=f"{name}-title"))


def _panel(panel: Panel) -> html.Figure:
    name = panel.name
    return html.Figure(
        [
            html.H3(panel.title, id=f"{name}-title", title=panel.about),
            html.Figcaption("", id=f"{name}-caption"),
            html.Div(
                [
                    dcc.Graph(
                        id=f"{name}-graph",
                        responsive=True,
                        config={"displayModeBar": False, "scrollZoom": False, "doubleClick": False},
                        className="graph",
                    ),
                    html.P("waiting for the first answer", id=f"{name}-empty", className="empty"),
                ],
                className="plot",
            ),
        ],
        id=f"{name}-panel",
        className="panel is-empty",
        tabIndex=0,
        **_aria(labelledby=f"{name}-title", describedby=f"{name}-caption {name}-empty"),
    )


def callbacks(app: dash.Dash) -> None:
    def on(function: str, outputs: Any, *inputs: Input | State) -> None:
        connect: Callable[..., None] = app.clientside_callback
        connect(ClientsideFunction("evenkeel", function), outputs, *inputs)

    tick, choice = Input("tick", "n_intervals"), (Input("range", "value"), Input("symbol", "value"))
    on("watchScheme", Output("scheme", "data"), Input("url", "pathname"))
    on("loadSymbols", Output("symbols", "data"), tick, State("symbols", "data"))
    on(
        "choose",
        [
            Output("symbol", "options"),
            Output("symbol", "value"),
            Output("range", "value"),
            Output("url", "search"),
        ],
        Input("url", "search"),
        Input("symbols", "data"),
        Input("symbol", "value"),
        Input("range", "value"),
    )
    on("loadStatus", Output("status", "data"), tick, State("status", "data"))
    on("loadSystem", Output("system", "data"), tick, choice[0], State("system", "data"))
    on(
        "loadMarket",
        Output("market", "data"),
        tick,
        *choice,
        State("symbols", "data"),
        State("market", "data"),
    )
    on(
        "showStatus",
        [Output("tiles", "children"), Output("banner", "children"), Output("alerts", "children")],
        Input("status", "data"),
    )
    on("showHeading", Output("market-title", "children"), Input("symbol", "value"))
    for store, panels in (("system", SYSTEM), ("market", MARKET)):
        outputs = [
            Output(f"{panel.name}-{part}", what)
            for panel in panels
            for part, what in (
                ("graph", "figure"),
                ("caption", "children"),
                ("empty", "children"),
                ("panel", "className"),
            )
        ]
        names = dcc.Store(id=f"{store}-names", data=[panel.name for panel in panels])
        app.layout.children.append(names)
        on("draw", outputs, Input(store, "data"), Input("scheme", "data"), State(names, "data"))
