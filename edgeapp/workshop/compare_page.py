"""The report of a comparison as one HTML page, pure: where they part first, in the look of the profile's report."""

from __future__ import annotations

from html import escape

from edgeapp.measure import svg
from edgeapp.measure.report_page import document, table
from edgeapp.workshop.own_error import KERNELS, QUANTIZED, OwnError, Tolerance
from edgeapp.workshop.stages import Comparison, Gap, Stage

TOLERANCES = {"quantization": QUANTIZED, "compilation": KERNELS, "runtime": KERNELS}
_LOOKS = {"agrees": "ok", "diverges": "bad", "not compared": ""}
_ANSWERS = {"misses": "parted", "clears": "equal", "unknown": "equal as far as compared"}
_SHOWN_LAYERS = 8
_MOST_STEPS = 2.0  # of the tolerance: one layer far above it would flatten all others
_MOST_DB = 80.0


def page(found: Comparison, sheet: str) -> str:
    """The whole page. `sheet` is the picture of the worst inputs, a data URL; empty where there is none."""
    sections = [_head(found), _verdict(found), _stages(found)]
    sections += [_layers(stage) for stage in found.stages if stage.layers]
    sections.append(_worst(found, sheet))
    return document(f"{found.edge}: comparison", sections)


def _head(found: Comparison) -> str:
    how = ", ".join(filter(None, (f"on {found.pictures} pictures; as it ships: {found.shipped}", found.runtime)))
    return (
        f"<header><h1>{escape(found.edge)}</h1><p>compared with {escape(found.reference)}</p>"
        f'<p class="small">reference: sha256 {escape(found.reference_sha256)}</p>'
        f'<p class="small">{escape(how)}</p></header>'
    )


def _verdict(found: Comparison) -> str:
    culprit = found.culprit
    is_whole = all(stage.answer == "agrees" for stage in found.stages)
    look = "misses" if culprit else "clears" if is_whole else "unknown"
    notes = [culprit.text] if culprit else []
    notes.append(f"What both find agrees with {found.agreement}")
    rows = "".join(f"<li>{_sentence(note)}.</li>" for note in notes)
    return (
        f'<section class="verdict {look}"><span class="small">verdict: {_ANSWERS[look]}</span>'
        f'<b style="overflow-wrap:anywhere">{escape(found.headline)}.</b><ul>{rows}</ul></section>'
    )


def _stages(found: Comparison) -> str:
    rows = "".join(
        f'<tr{_used(stage is found.culprit)}><td class="word">{stage.name}</td>'
        f'<td class="word">{escape(stage.where)}</td><td class="word {_LOOKS[stage.answer]}">{stage.answer}</td>'
        f'<td class="text">{_sentence(stage.text)}{"".join(map(_gap, stage.gaps))}</td></tr>'
        for stage in found.stages
    )
    head = ("stage", "where", "", "what was found")
    note = (
        "Each stage is fed the same before and after it, so that none is blamed for the one before. "
        "dB: signal to difference; steps: quantization steps of the output."
    )
    return f'<section><h2>Stage by stage</h2>{table(head, rows, texts=(1, 2, 3))}<p class="small">{note}</p></section>'


def _gap(gap: Gap) -> str:
    return f'<br><span class="small">{escape(gap.role)}: {gap.db:.1f} dB, worst {gap.worst_steps:.3g} steps</span>'


def _layers(stage: Stage) -> str:
    tolerance = TOLERANCES[stage.name]
    top = _MOST_STEPS * tolerance.rms_steps
    points = [(float(layer.index), min(layer.rms_steps, top)) for layer in stage.layers]
    ends = (points[0][0], points[-1][0])
    lines = [
        svg.Curve("own error, steps", points, "median"),
        svg.Curve("tolerance, steps", [(end, tolerance.rms_steps) for end in ends], "p95"),
    ]
    decibels = [
        (float(layer.index), min(layer.output_db, _MOST_DB)) for layer in stage.layers if layer.output_db is not None
    ]
    if decibels:
        lines.append(svg.Curve("output, all errors, dB", decibels, "temp", is_right=True))
    if stage.layer is not None:
        at = float(stage.layer.index)
        lines.append(svg.Curve("first wrong layer", [(at, 0.0), (at, tolerance.rms_steps)], "clock"))
    where = "" if stage.where == "here" else f" on {stage.where}"
    plot = svg.curves(f"own error of each layer in {stage.name}", lines, x="layer, in order of execution")
    wrong = [layer for layer in stage.layers if tolerance.objection(layer)]
    worst = sorted(stage.layers, key=lambda layer: -layer.rms_steps)
    shown = [*wrong, *(layer for layer in worst if layer not in wrong)][:_SHOWN_LAYERS]
    head = ("layer", "own error", "worst value", "range shifted", "output", "")
    rows = "".join(_layer(layer, tolerance) for layer in shown)
    note = (
        "Own error: what the layer does wrong by itself, fed with the very values that it had; root mean square, in "
        f"steps of its output. What exceeds {top:g} steps is drawn there. Rounding costs 0.29."
    )
    return (
        f"<section><h2>Layers: {stage.name}{escape(where)}</h2>{plot}{table(head, rows)}"
        f'<p class="small">{escape(note)}</p></section>'
    )


def _layer(layer: OwnError, tolerance: Tolerance) -> str:
    objection = tolerance.objection(layer)
    decibels = "–" if layer.output_db is None else f"{layer.output_db:.1f} dB"
    return (
        f'<tr{_used(bool(objection))}><td style="overflow-wrap:anywhere">{layer.index} {escape(layer.operator)}<br>'
        f'<span class="small" title="{escape(layer.name)}">{escape(layer.first_name)}</span></td>'
        f"<td>{layer.rms_steps:.2f}</td><td>{layer.worst_steps:.1f}</td><td>{layer.shift_steps:+.0f}</td>"
        f'<td>{decibels}</td><td class="{"bad" if objection else "ok"}">{"wrong" if objection else "ok"}</td></tr>'
    )


def _worst(found: Comparison, sheet: str) -> str:
    rows = "".join(
        f"<tr><td>{escape(one.name)}</td><td>{one.db:.1f} dB</td>"
        f'<td class="{"ok" if one.says_the_same else "bad"}">'
        f"{'the same' if one.says_the_same else 'another thing'}</td></tr>"
        for one in found.worst
    )
    picture = f'<img alt="the worst inputs" style="width:100%" src="{sheet}">' if sheet else ""
    note = "Green: the reference. Orange, dashed: the edge model as it ships. Thin: below the minimum score."
    return (
        f"<section><h2>The inputs on which they differ most</h2>{picture}"
        f'<p class="small">{note}</p>{table(("picture", "outputs", "it says"), rows)}</section>'
    )


def _used(is_used: bool) -> str:
    return ' class="used"' if is_used else ""


def _sentence(text: str) -> str:
    return escape(text[:1].upper() + text[1:])
