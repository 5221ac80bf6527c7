"""The report of a profile as one HTML page, pure: the verdict first, no script, nothing from the network."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from edgeapp.measure import svg
from edgeapp.measure.figures import Figure, Profile
from edgeapp.measure.verdict import ACCURACIES, Judgement, percent, value, words
from edgeapp.words import counted

_STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;color:#1c2330;background:#f4f5f7;
margin:0}
main{max-width:860px;margin:0 auto;padding:20px 16px 48px}
h1{font-size:1.15rem;margin:0}h2{font-size:1.05rem;margin:0 0 8px}p{margin:.35em 0}
section,header{background:#fff;border:1px solid #dfe3e8;border-radius:10px;padding:16px 18px;margin:14px 0;
break-inside:avoid}
.verdict{border-left:10px solid}.verdict b{display:block;font-size:1.45rem;line-height:1.25;margin:2px 0 8px}
.clears{border-left-color:#1a7f4b}.misses{border-left-color:#c0392b}.unknown{border-left-color:#b7791f}
.small{color:#596273;font-size:.88rem}ul{margin:.4em 0;padding-left:1.2em}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:5px 8px;border-bottom:1px solid #eceff3}
th{font-weight:600;color:#596273;font-size:.85rem}
th:first-child,td:first-child,.text{text-align:left}
td{white-space:nowrap}td:first-child,td.text{white-space:normal;overflow-wrap:anywhere}tr.used td{font-weight:700}
td.word{text-align:left;white-space:nowrap;overflow-wrap:normal}
.ok{color:#1a7f4b}.bad{color:#c0392b}.scroll{overflow-x:auto}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px}
.tile{background:#f7f8fa;border-radius:8px;padding:8px 12px}.tile b{display:block;font-size:1.25rem}
svg{width:100%;height:auto;display:block}svg text{font:12px system-ui,"DejaVu Sans",sans-serif;fill:#596273}
svg .key{fill:#1c2330}.grid{stroke:#e6e9ee}.curve{fill:none;stroke-width:2}.median{stroke:#1f5fbf}
.p95{stroke:#1f5fbf;stroke-width:1.2;stroke-dasharray:2 3}
.temp{stroke:#c0392b}.clock{stroke:#6b7686;stroke-dasharray:6 3}
.settled{fill:#1a7f4b;opacity:.08}.bar{fill:#7fa3dc}.mark{stroke:#1c2330;stroke-dasharray:3 3}
.stack{display:flex;height:34px;border-radius:6px;overflow:hidden;margin:6px 0}
.stack span{display:block}.decode{background:#8e7cc3}.preprocess{background:#6fa8dc}.invoke{background:#1f5fbf}
.postprocess{background:#76a5af}.dot{display:inline-block;width:.75em;height:.75em;border-radius:3px;margin-right:.45em}
@media(max-width:600px){svg text{font-size:18px}h1{font-size:1.05rem}.verdict b{font-size:1.25rem}}
@media print{body{background:#fff}section,header{border-color:#bbb}*{print-color-adjust:exact}}
"""
_SHOWN_PEAKS = 0.95  # of the p95 curve; few high peaks would flatten all the rest
_ANSWERS = {"clears": "verdict: clears", "misses": "verdict: misses", "unknown": "verdict: cannot be told"}


def page(profile: Profile, judgement: Judgement) -> str:
    """The whole page."""
    parts = [
        _head(profile),
        _verdict(judgement),
        _tiles(profile),
        _over_time(profile),
        _stages(profile),
        _histogram(profile),
        _ways(profile),
        _accuracy(profile),
        _all_figures(profile),
    ]
    return document(f"{profile.subject.model.name} {profile.subject.model.version}: profile", parts)


def document(title: str, sections: Sequence[str]) -> str:
    """A page of such sections, in the look of this report."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{''.join(sections)}</main></body></html>\n"
    )


def _head(profile: Profile) -> str:
    subject, model = profile.subject, profile.subject.model
    threads = counted(model.threads, "thread")
    pictures = f"pictures of {subject.frames}" if subject.frames else "noise in place of pictures"
    what = f"{model.name} {model.version} ({model.quantization}, {subject.size_bytes / 1e6:.1f} MB)"
    where = f"{subject.board or 'unnamed board'}, {subject.cores} cores, {subject.os_name}"
    how = f"{model.runtime}, {model.delegate}, {threads}; {pictures}; edgeapp {subject.edgeapp}, {subject.measured_at}"
    return f'<header><h1>{escape(what)}</h1><p>on {escape(where)}</p><p class="small">{escape(how)}</p></header>'


def _verdict(judgement: Judgement) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in judgement.notes)
    rows = "".join(
        f"<tr><td>{escape(words(bar.name))}</td><td>{value(bar.name, bar.found)}</td>"
        f"<td>{value(bar.name, bar.limit)}</td><td{_colour(bar.spare)}>{_spare(bar.spare)}</td></tr>"
        for bar in judgement.bars
    )
    head = ("budget", "measured", "limit", "")
    budget = table(head, rows) if rows else ""
    return (
        f'<section class="verdict {judgement.answer}"><span class="small">{_ANSWERS[judgement.answer]}</span>'
        f"<b>{escape(judgement.headline)}.</b>{f'<ul>{notes}</ul>' if notes else ''}{budget}</section>"
    )


def _spare(spare: float | None) -> str:
    if spare is None:
        return "not measured"
    return (
        f"{percent(spare)} to spare" if spare >= 0 else f"{percent(-spare)} too much" if spare > -10 else "far too much"
    )


def _colour(spare: float | None) -> str:
    return "" if spare is None else ' class="ok"' if spare >= 0 else ' class="bad"'


def _tiles(profile: Profile) -> str:
    steady = "steady_" if "steady_p50_ms" in profile.figures else ""
    names = (steady + "p50_ms", steady + "p95_ms", steady + "fps", "cold_load_ms", "rss_mb", *ACCURACIES)
    tiles = "".join(
        f'<div class="tile"><span class="small">{escape(words(name))}</span>'
        f"<b>{value(name, profile.value(name))}</b></div>"
        for name in names
        if name in profile.figures
    )
    return f'<section><div class="tiles">{tiles}</div></section>'


def _over_time(profile: Profile) -> str:
    settling, moments = profile.settling, profile.moments
    temps = [(moment.time_s, moment.temp_c) for moment in moments if moment.temp_c is not None]
    clocks = [(moment.time_s, moment.clock_mhz) for moment in moments if moment.clock_mhz is not None]
    peaks = sorted(moment.p95_ms for moment in moments)
    top_ms = max(peaks[int(_SHOWN_PEAKS * len(peaks))], *(moment.median_ms for moment in moments))
    plot = svg.curves(
        "latency and temperature over time",
        [
            svg.Curve("median, ms", [(moment.time_s, moment.median_ms) for moment in moments], "median"),
            svg.Curve("p95, ms", [(moment.time_s, min(moment.p95_ms, top_ms)) for moment in moments], "p95"),
            svg.Curve("temperature, °C", temps, "temp", is_right=True),
        ],
        x="seconds",
        mark_x=settling.since_s,
    )
    missing = [name for name, points in (("temperature", temps), ("clock frequency", clocks)) if not points]
    blank = f"This board tells no {' and no '.join(missing)}." if missing else ""
    clock = ""
    if clocks:
        clock = svg.curves("clock frequency over time", [svg.Curve("clock, MHz", clocks, "clock")], x="seconds")
    said = {"settled": "Settled", "not yet": "Not settled", "cannot say": "Whether it has settled cannot be told"}
    why = f"{said[settling.answer]}: {settling.reason}. {profile.frames} frames in {profile.seconds:.0f} s. {blank}"
    if peaks[-1] > top_ms:
        why += f" Peaks are cut at {value('_ms', top_ms)}; the highest p95 is {value('_ms', peaks[-1])}."
    return f'<section><h2>Latency over time</h2>{plot}{clock}<p class="small">{escape(why)}</p></section>'


def _stages(profile: Profile) -> str:
    total = sum(profile.stages_ms.values())
    stack = "".join(
        f'<span class="{name}" style="width:{100 * took / total:.2f}%"></span>'
        for name, took in profile.stages_ms.items()
    )
    rows = "".join(
        f'<tr><td><i class="dot {name}"></i>{name}</td><td>{value("_ms", took)}</td>'
        f"<td>{percent(took / total)}</td></tr>"
        for name, took in profile.stages_ms.items()
    )
    shares = table(("stage", "mean", "of the frame"), rows)
    return f'<section><h2>Where the time of a frame goes</h2><div class="stack">{stack}</div>{shares}</section>'


def _histogram(profile: Profile) -> str:
    steady = "steady_" if "steady_p50_ms" in profile.figures else ""
    marks = [(name, profile.value(f"{steady}{name}_ms") or 0.0) for name in ("p50", "p95", "p99")]
    bins = profile.histogram
    plot = svg.bars(
        "frames by latency", bins.counts, low=bins.low_ms, step=bins.step_ms, x="ms for one frame", marks=marks
    )
    which = "since it settled" if steady else "of the whole run"
    worst = value("_ms", profile.value(f"{steady}worst_ms"))
    note = f"Frames {which}. The slowest 0.5 % are in the last bar; the worst took {worst}."
    return (
        f'<section><h2>How latency spreads: frames by latency</h2>{plot}<p class="small">{escape(note)}</p></section>'
    )


def _ways(profile: Profile) -> str:
    if not profile.ways:
        return ""
    model, best = profile.subject.model, min(way.median_ms for way in profile.ways)
    rows = "".join(
        f"<tr{_used(way.delegate == model.delegate.name and way.threads == model.threads)}><td>{way.delegate}</td>"
        f"<td>{way.threads}</td><td>{value('_ms', way.median_ms)}</td><td>{value('_ms', way.p99_ms)}</td>"
        f"<td>{way.median_ms / best:.2f}×</td></tr>"
        for way in profile.ways
    )
    measured = table(("delegate", "threads", "median", "p99", "to the fastest"), rows)
    note = "The bare model, without decoding and preprocessing. In bold: what the run above used."
    return f'<section><h2>Delegate and threads</h2>{measured}<p class="small">{note}</p></section>'


def _used(is_used: bool) -> str:
    return ' class="used"' if is_used else ""


def _accuracy(profile: Profile) -> str:
    names = [name for name in (*ACCURACIES, "count_error") if name in profile.figures]
    if not names:
        return ""
    rows = _rows(profile, names)
    note = f"On {profile.labelled} labelled frames; in brackets the 95 % interval over frames."
    return (
        f"<section><h2>Accuracy</h2>{table(('figure', 'value', '95 % interval'), rows)}"
        f'<p class="small">{note}</p></section>'
    )


def _all_figures(profile: Profile) -> str:
    names = [name for name in profile.figures if name not in (*ACCURACIES, "count_error")]
    figures = table(("figure", "value", "95 % interval"), _rows(profile, names))
    return f"<section><h2>All figures</h2>{figures}</section>"


def _rows(profile: Profile, names: Sequence[str]) -> str:
    return "".join(
        f"<tr><td>{escape(words(name))}</td><td>{value(name, profile.figures[name].value)}</td>"
        f"<td>{interval_text(name, profile.figures[name])}</td></tr>"
        for name in names
    )


def interval_text(name: str, figure: Figure) -> str:
    """The interval of a figure, with its unit."""
    return "–" if figure.low is None else f"{value(name, figure.low)} to {value(name, figure.high)}"


def table(head: Sequence[str], rows: str, *, texts: Collection[int] = ()) -> str:
    """A table that scrolls where the screen is narrow; `rows` are HTML. `texts`: columns of text, not of numbers."""
    marks = [' class="text"' if place in texts else "" for place in range(len(head))]
    cells = "".join(f"<th{mark}>{escape(cell)}</th>" for mark, cell in zip(marks, head, strict=True))
    return f'<div class="scroll"><table><tr>{cells}</tr>{rows}</table></div>'
