"""The report of a quantization as one HTML page, pure: the decision first, in the look of the profile's report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edgeapp.measure import svg
from edgeapp.measure.figures import Figure
from edgeapp.measure.report_page import document, interval_text, table
from edgeapp.measure.verdict import value, words
from edgeapp.words import counted
from edgeapp.workshop.calibration import BIN, Levels
from edgeapp.workshop.layers import LayerError, worst
from edgeapp.workshop.quantize_verdict import Quantization, Variant, Verdict

_LOOKS = {
    "ship": "clears",
    "needs training": "misses",
    "calibration suspicious": "unknown",
    "float misses": "misses",
}
_SHOWN_LAYERS = 10
_LOWEST_DB = 0.0


def page(result: Quantization, verdict: Verdict) -> str:
    """The whole page."""
    return document(
        f"{result.model}: quantization",
        [
            _head(result),
            _verdict(verdict),
            _variants(result, verdict),
            _figures(result),
            _calibration(result),
            _layers(result),
        ],
    )


def _head(result: Quantization) -> str:
    judged = "labels" if result.is_labelled else "the float model's own detections"
    how = (
        f"{result.calibration_pictures} calibration pictures (set {result.calibration_sha256[:12]}); judged on "
        f"{result.data_set}, by {judged}"
    )
    return f'<header><h1>{escape(result.model)}: float32 to int8</h1><p class="small">{escape(how)}</p></header>'


def _verdict(verdict: Verdict) -> str:
    reasons = "".join(f"<li>{escape(reason)}.</li>" for reason in verdict.reasons)
    return (
        f'<section class="verdict {_LOOKS[verdict.decision]}"><span class="small">decision: {verdict.decision}</span>'
        f"<b>{escape(verdict.headline)}.</b><ul>{reasons}</ul></section>"
    )


def _variants(result: Quantization, verdict: Verdict) -> str:
    made = [result.float_model, result.int8, *([result.mixed] if result.mixed else []), result.dynamic_range]
    rows = "".join(_variant(result, one, is_shipped=one.name == verdict.shipped) for one in made)
    head = ("form", "size", "median", "to float32", "delegated", words(result.metric), "95 % interval")
    note = (
        "Bare invokes on this machine with XNNPACK and one thread, in interleaved rounds. In bold: what ships. "
        f"The floor of {words(result.metric)} is {result.floor:g}."
    )
    return f'<section><h2>Size, speed, accuracy</h2>{table(head, rows)}<p class="small">{escape(note)}</p></section>'


def _variant(result: Quantization, variant: Variant, *, is_shipped: bool) -> str:
    speed = variant.speed
    figure = result.figure(variant) if variant.figures else Figure(result.of_float())
    name = variant.name
    if name == "mixed":
        name = f"int8, {counted(len(result.kept_float), 'layer')} float32"
    cells = [
        f"{variant.size_bytes / 1e6:.2f} MB",
        value("_ms", speed.median_ms),
        f"{speed.ratio:.2f}×",
        f"{speed.delegated} of {speed.nodes}",
        f"{figure.value:.3f}",
        interval_text(result.metric, figure),
    ]
    used = ' class="used"' if is_shipped else ""
    return f"<tr{used}><td>{escape(name)}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _figures(result: Quantization) -> str:
    rows = []
    for name, paired in result.int8.figures.items():
        if paired.float_model is None or paired.change is None:
            continue
        span = interval_text("", paired.change)
        meaning = "a difference" if paired.is_different else "no difference"
        rows.append(
            f"<tr><td>{escape(words(name))}</td><td>{paired.float_model.value:.3f}</td>"
            f"<td>{paired.quantized.value:.3f}</td><td>{paired.change.value:+.3f}</td><td>{escape(span)}</td>"
            f"<td>{meaning}</td></tr>"
        )
    if not rows:
        return ""
    head = ("figure", "float32", "int8", "change", "95 % interval", "")
    note = "The interval draws the same frames for both models. A change whose interval has 0 in it is no difference."
    return f'<section><h2>Float32 and int8</h2>{table(head, "".join(rows))}<p class="small">{note}</p></section>'


def _calibration(result: Quantization) -> str:
    evidence = result.evidence
    plot = svg.curves(
        "pixels by level",
        [
            svg.Curve("calibration, %", _percents(evidence.samples), "temp"),
            svg.Curve("evaluation, %", _percents(evidence.evaluation), "median"),
        ],
        x="level of a pixel, 0 black to 255 white",
    )
    saturating = evidence.saturating
    rows = "".join(
        f"<tr><td>{escape(cut.name)}</td><td>{100 * cut.share:.2f} %</td><td>{cut.power:.3g}×</td></tr>"
        for cut in saturating[:_SHOWN_LAYERS]
    )
    note = (
        f"{len(saturating)} of {len(evidence.cuts)} layers lose more by cutting off values of the evaluation's "
        f"pictures, which the calibration never saw, than by rounding."
    )
    cuts = table(("layer", "values cut off", "error to rounding's"), rows) if rows else ""
    return f'<section><h2>Calibration</h2>{plot}<p class="small">{escape(note)}</p>{cuts}</section>'


def _percents(levels: Levels) -> list[tuple[float, float]]:
    return [(BIN * place + BIN / 2, 100 * share) for place, share in enumerate(levels.shares)]


def _layers(result: Quantization) -> str:
    points = [(float(number), max(layer.sqnr_db, _LOWEST_DB)) for number, layer in enumerate(result.layers, 1)]
    plot = svg.curves(
        "error layer by layer", [svg.Curve("SQNR, dB", points, "median")], x="layer, in order of execution"
    )
    head = ("layer", "operator", "effect", "SQNR", "cut off")
    rows = "".join(_layer(layer) for layer in worst(result.layers, _SHOWN_LAYERS))
    note = (
        "SQNR: signal to quantization noise of a layer's output, with what the layers before it did in it; 20 dB is an "
        "error of a tenth. Effect: the error at the outputs when this layer alone is int8, as a share of that of the "
        "whole int8 model. The largest are the first to keep in float32 (--mixed)."
    )
    shown = table(head, rows, texts=(1,))
    return f'<section><h2>Error layer by layer</h2>{plot}<p class="small">{escape(note)}</p>{shown}</section>'


def _layer(layer: LayerError) -> str:
    cells: Sequence[str] = (
        layer.operator,
        f"{100 * (layer.effect or 0.0):.1f} %",
        f"{layer.sqnr_db:.1f} dB",
        f"{100 * layer.cut.share:.2f} %",
    )
    operator, *numbers = cells
    rest = "".join(f"<td>{escape(cell)}</td>" for cell in numbers)
    return f'<tr><td>{escape(layer.name)}</td><td class="text">{escape(operator)}</td>{rest}</tr>'
