"""Colours and styles: light, dark and print, for the page and for the picture on its own.

Text has a contrast of at least 4.5:1 on what it stands on, shapes 3:1; tests compute it. Tiers
are an ordered ramp that keeps its order for colour-blind eyes; what happens to a pod is never
said by colour alone.
"""

LIGHT = {
    "bg": "#ffffff", "fg": "#14171c", "muted": "#555c68", "line": "#d5d9e0", "card": "#f6f7f9",
    "edge": "#868e9c", "accent": "#1d57c4", "good": "#17693a", "warn": "#8a4b00",
    "t0": "#3b2a78", "t1": "#35589c", "t2": "#217a8c", "t3": "#23916f", "t4": "#6b9420",
    "t5": "#a58a00",
}  # fmt: skip
DARK = {
    "bg": "#0f1217", "fg": "#e9ecf1", "muted": "#a5aebc", "line": "#2b313b", "card": "#171b22",
    "edge": "#6c7686", "accent": "#8db6ff", "good": "#79d49b", "warn": "#f0b45c",
    "t0": "#c9b8ff", "t1": "#86b3f5", "t2": "#4fbccd", "t3": "#3fae86", "t4": "#86ac3c",
    "t5": "#b0983f",
}  # fmt: skip


def variables() -> str:
    """Return the colours as CSS variables, dark where the reader's system is."""
    dark = f"@media (prefers-color-scheme:dark){{:root{{{_declare(DARK)}}}}}"
    return f":root{{color-scheme:light dark;{_declare(LIGHT)}}}@media screen{{{dark}}}"


def _declare(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


DRAWING = (
    "".join(f".t{i}{{fill:var(--t{i})}}" for i in range(6))
    + """
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--fg)}
.name{font-size:13px;font-weight:600}
.small{font-size:11px}
svg .muted{fill:var(--muted)}
.panel{fill:var(--card);stroke:var(--line)}
.hole{fill:none;stroke:var(--edge);stroke-dasharray:2.5 2}
.shut{fill:url(#fs-shut);stroke:var(--edge)}
.bar{fill:none;stroke:var(--edge);stroke-width:.75}
.tick{stroke:var(--card);stroke-width:1;opacity:.65;fill:none}
.new{fill:none;stroke:var(--fg);stroke-width:2}
.chip{fill:var(--bg);stroke:var(--fg);stroke-width:.75}
.tag{font-size:11px;font-weight:700;text-anchor:middle}
.cut{stroke:var(--card);stroke-width:2.2}
.shade{stroke:var(--edge);stroke-width:1}
"""
)

PAGE = """
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);line-height:1.5;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main,header,footer{max-width:1120px;margin:0 auto;padding:0 20px}
header{padding-top:36px}
h1{font-size:28px;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:20px;margin:44px 0 8px;padding-top:20px;border-top:1px solid var(--line)}
h3{font-size:16px;margin:24px 0 6px;overflow-wrap:anywhere}
p{margin:8px 0;max-width:76ch;overflow-wrap:anywhere}
li{margin:4px 0;max-width:76ch;overflow-wrap:anywhere}
.lead{font-size:19px;line-height:1.45}
.muted,caption,.from{color:var(--muted)}
.from{margin:0 0 20px;font-size:14px}
.good{color:var(--good)}.warn{color:var(--warn)}
.facts{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0 0;padding:0;list-style:none}
.facts li{flex:1 1 140px;margin:0;background:var(--card);border:1px solid var(--line);
border-radius:8px;padding:10px 14px}
.facts b{display:block;white-space:nowrap;font-size:26px;line-height:1.2;
font-variant-numeric:tabular-nums}
.facts b small{font-size:15px;font-weight:500;color:var(--muted)}
.facts span{font-size:14px;color:var(--muted)}
.scroll{overflow-x:auto;margin:12px 0}
table{border-collapse:collapse;width:100%;font-size:15px}
caption{text-align:left;font-size:14px;padding-bottom:6px}
th,td{text-align:left;padding:7px 16px 7px 0;border-bottom:1px solid var(--line);
vertical-align:top}
thead th.n{white-space:normal;vertical-align:bottom}
thead th{vertical-align:bottom;font-size:13px;color:var(--muted);font-weight:600}
tbody th{font-weight:600}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th small{font-weight:400;color:var(--muted)}
.pods td{min-width:16em}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
font-size:.9em}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px;
overflow-x:auto;margin:10px 0}
blockquote{margin:8px 0;padding:2px 0 2px 12px;border-left:3px solid var(--line);
color:var(--muted);font-size:15px}
.key{display:inline-block;min-width:20px;padding:0 5px;text-align:center;font-weight:700;
font-size:13px;line-height:19px;border:1px solid var(--edge);border-radius:4px;
background:var(--bg)}
.legend{display:flex;flex-wrap:wrap;gap:6px 20px;margin:12px 0;padding:0;list-style:none;
font-size:14px}
.legend li{display:flex;align-items:center;gap:7px;margin:0}
.panels{display:flex;flex-wrap:wrap;gap:12px;margin:12px 0;padding:0;list-style:none}
.panels li,.rest li{margin:0;max-width:100%}
.panels svg{display:block;max-width:100%;height:auto}
.pools{display:flex;flex-wrap:wrap;gap:0 32px}
.pools>div{max-width:100%}.pools h3{font-size:14px;margin:14px 0 2px}
.rest{display:flex;flex-wrap:wrap;gap:5px 8px;margin:6px 0 8px;padding:0;list-style:none}
.rest svg{display:block}
.why{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 16px;
margin:12px 0}
.why h3{margin:0 0 4px}
.why ul{margin:4px 0;padding-left:20px}
.why dt{font-size:13px;font-weight:600;color:var(--muted);margin-top:10px}
.why dd{margin:0;overflow-wrap:anywhere}
.funnel{list-style:none;display:flex;flex-wrap:wrap;gap:2px 8px;padding:0!important}
.funnel li+li::before{content:"→ ";color:var(--muted)}
summary{cursor:pointer;overflow-wrap:anywhere}
footer{padding:28px 20px 40px;font-size:13px;color:var(--muted)}
.defs{position:absolute;width:0;height:0}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
@media (max-width:560px){header{padding-top:24px}h1{font-size:23px}.lead{font-size:17px}
.facts li{flex-basis:130px;padding:8px 10px}.facts b{font-size:22px}main,header,footer{
padding-left:14px;padding-right:14px}
th,td,td.n,th.n{padding-right:8px}table,thead th.n{white-space:normal;vertical-align:bottom}
thead th{vertical-align:bottom;font-size:13px}
.panels li,.panels svg{width:100%}
.pods td{min-width:12em;overflow-wrap:anywhere}}
@media print{body{font-size:11pt}main,header,footer{max-width:none;padding:0}
h2,h3{break-after:avoid}.panels li,tr,.facts li{break-inside:avoid}.scroll,pre{
overflow:visible}pre{white-space:pre-wrap}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
details::details-content{content-visibility:visible;block-size:auto}}
"""
