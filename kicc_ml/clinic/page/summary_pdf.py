"""Draw the summary of a patient's page on one A4 sheet, for the archive and for printing."""

import io
import textwrap
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from kicc_ml.clinic.page.page import PatientPage, make_zone_cells
from kicc_ml.clinic.page.words import TRANSLATIONS
from kicc_ml.core.shown import escape_for_plot
from kicc_ml.core.types import Risk, SeverityMap
from kicc_ml.pictures.fonts import list_font_families
from kicc_ml.severity.grade import compute_change, format_share

A4_INCHES = (8.27, 11.69)
#: Left edges of the columns after the endpoint, as shares of the sheet's width.
RISK_COLUMNS = (0.24, 0.355, 0.455)
DOMAIN_CHECK_INK = {"inside": "#0072b2", "outside": "#b04a00", "unchecked": "#555555"}


def make_summary_pdf(page: PatientPage, montage: Path) -> bytes:
    """Draw one sheet with the values, the zones and the montage (a PNG) of a patient's page, in English."""
    with rc_context({"font.family": list_font_families(), "pdf.fonttype": 42}):
        figure = Figure(figsize=A4_INCHES)
        _draw_head(figure, page)
        _draw_values(figure, page)
        _draw_zones(figure.add_axes((0.56, 0.56, 0.36, 0.22)), page.scan.severity)
        picture = figure.add_axes((0.06, 0.318, 0.88, 0.23), anchor="N")
        picture.imshow(np.asarray(Image.open(montage, formats=("PNG",))))
        picture.set_axis_off()
        _draw_outcome(figure, page)
        _draw_provenance(figure, page)
        sheet = io.BytesIO()
        figure.savefig(sheet, format="pdf", metadata={"Title": "Severity of COVID-19 pneumonia on CT"})
    return sheet.getvalue()


def _get_word(name: str) -> str:
    return TRANSLATIONS[name][0]


def _draw_head(figure: Figure, page: PatientPage) -> None:
    figure.text(0.06, 0.95, _get_word("title"), size=15, weight="bold")
    identity = [f"{label}: {value}" for label, value in page.identity.items()]
    heading = "   ".join([f"{_get_word('case')} {page.case_id}", *identity])
    figure.text(0.06, 0.928, escape_for_plot(heading), size=9.5)
    figure.text(0.06, 0.91, _get_word("research"), size=8.5, color="#8a3b00")
    ink = DOMAIN_CHECK_INK[page.domain_check]
    figure.text(0.06, 0.884, _get_word(f"domain_{page.domain_check}"), size=10.5, weight="bold", color=ink)
    for line, feature in enumerate(page.out_of_range[:3]):
        usual = f"{_get_word('in_training')} {feature.low:.3g} … {feature.high:.3g}"
        reason = f"– {_get_word(feature.feature)}: {feature.value:.3g} ({usual})"
        figure.text(0.07, 0.868 - 0.015 * line, reason, size=8.5, color=ink)


def _draw_values(figure: Figure, page: PatientPage) -> None:
    severity = page.scan.severity
    score = "–" if severity.score is None else str(severity.score)
    figure.text(0.06, 0.785, score, size=30, weight="bold")
    figure.text(0.06, 0.768, f"{_get_word('score')} {_get_word('of24')}", size=9)
    share = "–" if severity.percent_involved is None else f"{severity.percent_involved:.0f} %"
    figure.text(0.28, 0.785, share, size=30, weight="bold")
    figure.text(0.28, 0.768, _get_word("involved"), size=9)
    if page.scan.involved_interval:
        low, high = page.scan.involved_interval
        figure.text(0.28, 0.755, f"{_get_word('interval')} {low:.0f}–{high:.0f} %", size=8, color="#555555")
    for line, (label, value) in enumerate(_make_rows(page)):
        height = 0.732 - 0.0155 * line
        figure.text(0.06, height, label, size=9)
        figure.text(0.48, height, value, size=9, ha="right")


def _make_rows(page: PatientPage) -> list[tuple[str, str]]:
    severity = page.scan.severity
    percents = {f"{side}_lung": share for side, share in severity.lung_percent.items()}
    percents["consolidated"] = severity.percent_consolidated
    volumes = {"lung_volume": (severity.lung_ml, "mL"), "lesion_volume": (severity.lesion_ml, "mL")}
    volumes["lesion_weight"] = (severity.lesion_g, "g")
    percents["uncertain_of"] = severity.uncertain_percent
    rows = [(_get_word(name), _format_value(share, "%")) for name, share in percents.items()]
    rows += [(_get_word(name), _format_value(*pair)) for name, pair in volumes.items()]
    if page.previous:
        changed = compute_change(page.previous.severity, severity)
        units = {"percent_involved": ("involved", "%"), "lesion_ml": ("lesion_volume", "mL")}
        rows += [
            (f"{_get_word('since')}: {_get_word(word)}", _format_value(changed[name], unit, "+"))
            for name, (word, unit) in units.items()
        ]
    return rows


def _draw_outcome(figure: Figure, page: PatientPage) -> None:
    """Draw a line for each endpoint: risk, interval, risk of the clinical model, calibration at held-out hospitals."""
    if not page.risks:
        return
    figure.text(0.06, 0.302, _get_word("outcome"), size=9.5, weight="bold")
    for left, name in zip(RISK_COLUMNS, ("risk", "clinical", "calibration"), strict=True):
        figure.text(left, 0.302, _get_word(name), size=7.5, color="#444444")
    height = 0.302
    for risk in page.risks[:5]:
        height -= 0.0155
        figure.text(0.06, height, _get_word(risk.endpoint), size=9)
        for left, text, size in zip(RISK_COLUMNS, _format_risk(risk), (9, 9, 7), strict=True):
            figure.text(left, height, text, size=size)
    figure.text(
        0.06,
        height - 0.0135,
        escape_for_plot(f"{_get_word('risks_from')}: {page.risks_from}"),
        size=7.5,
        color="#444444",
    )


def _format_risk(risk: Risk) -> tuple[str, str, str]:
    """Format the risk with its interval, the risk of the clinical model, and the calibration."""
    interval = "" if risk.low is None or risk.high is None else f" ({100 * risk.low:.0f}–{100 * risk.high:.0f})"
    clinical = "–" if risk.clinical is None else f"{100 * risk.clinical:.0f} %"
    calibration = [f"{name} {value}" for name, value in risk.calibration.items() if name != "held_out"]
    return f"{100 * risk.probability:.0f}{interval} %", clinical, ", ".join(calibration)


def _format_value(value: float | None, unit: str, sign: str = "") -> str:
    return _get_word("not_available") if value is None else f"{value:{sign}.0f} {unit}"


def _draw_zones(axes: Axes, severity: SeverityMap) -> None:
    """Draw six boxes, coloured by score; the patient's right is on the left."""
    axes.set_axis_off()
    axes.set_xlim(0, 2.1)
    axes.set_ylim(3.25, -0.25)
    for cell in make_zone_cells(severity):
        left, top = int(str(cell["column"])) * 1.08, int(str(cell["row"]))
        axes.add_patch(Rectangle((left, top), 1, 0.96, facecolor=str(cell["fill"]), edgecolor="#444444"))
        score = "–" if cell["score"] is None else str(cell["score"])
        share = "" if cell["percent"] is None else f"\n{format_share(float(str(cell['percent'])))} %"
        axes.text(left + 0.5, top + 0.5, score + share, ha="center", va="center", color=str(cell["ink"]), size=10)
    for left, letter in ((0.5, "R"), (1.58, "L")):
        axes.text(left, -0.08, letter, ha="center", weight="bold", size=10)
    axes.text(
        1.04, 3.16, "0: <0.5 %   1: <25 %   2: <50 %   3: <75 %   4: more", ha="center", size=7.5, color="#444444"
    )


def _draw_provenance(figure: Figure, page: PatientPage) -> None:
    lines = [f"{label}: {value}" for label, value in page.provenance.items()]
    for line, text in enumerate(lines[:10]):
        figure.text(0.06, 0.2 - 0.0145 * line, escape_for_plot(text[:130]), size=7.5, color="#444444")
    figure.text(0.06, 0.035, "\n".join(textwrap.wrap(_get_word("method"), 120)), size=7.5, color="#444444")
