"""The answer of `size` as one HTML page, pure, in the look of the profile's report."""

from __future__ import annotations

from html import escape

from edgeapp.measure import svg
from edgeapp.measure.figures import Figure
from edgeapp.measure.report_page import document, interval_text, table
from edgeapp.measure.verdict import value, words
from edgeapp.workshop.sizing import LATENCIES, Candidate, Sizing, Wanted, frontier

_STYLES = {"clears": "median", "misses": "temp", "unknown": "clock"}


def page(sizing: Sizing, wanted: Wanted, board: str, notes: tuple[str, ...] = ()) -> str:
    """The whole page."""
    remarks = "".join(f"<li>{escape(note)}.</li>" for note in notes)
    head = (
        f"<header><h1>{len(sizing.candidates)} models for {escape(board or 'an unnamed board')}</h1>"
        f'<p class="small">{escape(_asked(wanted))}</p></header>'
    )
    verdict = (
        f'<section class="verdict {sizing.standing}"><b>{escape(sizing.headline)}.</b>'
        f"{f'<ul>{remarks}</ul>' if remarks else ''}</section>"
    )
    return document("Which model fits", [head, verdict, _plot(sizing, wanted), _candidates(sizing, wanted)])


def _asked(wanted: Wanted) -> str:
    limits = [f"{words(wanted.metric)} at least {wanted.floor:g}, by the lower end of its 95 % interval"]
    limits += [f"{words(name)} {value(name, limit)}" for name, limit in wanted.budget.limits().items()]
    return "; ".join(limits)


def _plot(sizing: Sizing, wanted: Wanted) -> str:
    things = [
        svg.Spot(each.name, _ends(each.latency), _ends(each.accuracy), _STYLES[each.standing])
        for each in sizing.candidates
        if each.latency and each.accuracy
    ]
    if not things:
        return ""
    limit = next((limit for name, limit in wanted.budget.limits().items() if name in LATENCIES), None)
    plot = svg.spots(
        "accuracy against steady latency",
        things,
        x="steady latency, ms (p95)",
        y=words(wanted.metric),
        limits=(limit, wanted.floor),
        line=frontier(sizing.candidates),
    )
    note = (
        "Bars are 95 % intervals. The shaded field keeps floor and budget; the line joins what no other beats in both."
    )
    return f'<section><h2>Accuracy against latency</h2>{plot}<p class="small">{note}</p></section>'


def _ends(figure: Figure) -> tuple[float, float, float]:
    low = figure.value if figure.low is None else figure.low
    return figure.value, low, figure.value if figure.high is None else figure.high


def _candidates(sizing: Sizing, wanted: Wanted) -> str:
    rows = "".join(_row(each, wanted, is_picked=each.name == sizing.picked) for each in sizing.candidates)
    head = ("model", "size", words(wanted.metric), "95 % interval", "steady p95", "")
    return f"<section><h2>Candidates</h2>{table(head, rows, texts=(5,))}</section>"


def _row(each: Candidate, wanted: Wanted, *, is_picked: bool) -> str:
    accuracy = "–" if each.accuracy is None else f"{each.accuracy.value:.3f}"
    interval = "–" if each.accuracy is None else interval_text(wanted.metric, each.accuracy)
    cells = [
        f"{each.size_bytes / 1e6:.2f} MB",
        accuracy,
        interval,
        value("_ms", each.latency.value if each.latency else None),
    ]
    colour = {"clears": "ok", "misses": "bad"}.get(each.standing, "small")
    used = ' class="used"' if is_picked else ""
    return (
        f"<tr{used}><td>{escape(each.name)}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}"
        f'<td class="{colour} text">{escape(each.why)}</td></tr>'
    )
