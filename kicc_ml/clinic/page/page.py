"""Write one self-contained HTML file per patient: what a radiologist reads first, then the scan with its map.

The file opens from disk, requests nothing from a network, and needs a canvas but no WebGL.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jinja2
from markupsafe import Markup, escape

from kicc_ml.clinic.page.scan import DisplayScan
from kicc_ml.clinic.page.words import TRANSLATIONS
from kicc_ml.core.files import write_text
from kicc_ml.core.pages import read_template
from kicc_ml.core.types import DisplayOrientation, OutOfRangeFeature, RadiographScore, Risk, SeverityMap
from kicc_ml.severity.grade import SIDES, THIRDS, compute_change, format_share

#: Colours of a zone by its score, light to dark: ColorBrewer YlOrBr. Colour-blind readers and grey prints distinguish
#: them. ``ZONE_INK`` is the colour of the text on each.
ZONE_FILL = ("#ffffff", "#fee391", "#fe9929", "#cc4c02", "#7a2803")
ZONE_INK = ("#1a1a1a", "#1a1a1a", "#1a1a1a", "#ffffff", "#ffffff")

DomainCheck = Literal["inside", "outside", "unchecked"]
UncertaintyFlag = Literal["usual", "unusual", "unknown"]


@dataclass(frozen=True)
class Scan:
    """A scan to show, its severity, and the interval for the share of lung involved if it is known.

    ``display`` is None for a prior scan whose files are not present; ``link`` is then the address of its own page.
    """

    display: DisplayScan | None
    severity: SeverityMap
    involved_interval: tuple[float, float] | None = None
    days_before: int | None = None  # of an earlier scan; never a date
    link: str = ""


@dataclass(frozen=True)
class PatientPage:
    """The content of a page.

    ``domain_check`` says whether the scan is like those of the training hospitals; ``out_of_range`` lists the
    features that differ. ``uncertainty_flag`` says whether the model is uncertain of more of it than of other scans.
    ``risks_from`` names the inputs of the risks. ``scores`` are a radiologist's scores, predicted from a radiograph.
    ``seconds`` is the time of each stage. ``hanging`` is the orientation of a radiograph, and None for a CT.
    ``identity`` (label to value) is set only if the page stays in the hospital. ``provenance`` describes the model, its
    training hospitals and its validation.
    """

    case_id: str
    scan: Scan
    previous: Scan | None = None
    domain_check: DomainCheck = "unchecked"
    out_of_range: tuple[OutOfRangeFeature, ...] = ()
    uncertainty_flag: UncertaintyFlag = "unknown"
    risks: tuple[Risk, ...] = ()
    risks_from: str = ""
    scores: tuple[RadiographScore, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)
    hanging: DisplayOrientation | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Reasons for missing values, without those that the page of a radiograph does not show."""
        unasked = ("score,", "percent_consolidated") if self.hanging else ()
        return tuple(reason for reason in self.scan.severity.reasons if not reason.startswith(unasked))


def write_page(path: Path, page: PatientPage) -> Path:
    """Write a page as a whole or not at all, and return its path. Only the user can read a page with an identity."""
    shown = [scan for scan in (page.scan, page.previous) if scan and scan.display]
    html = read_page_template("page.html.j2").render(
        page=page,
        severity=page.scan.severity,
        zones=make_zone_cells(page.scan.severity),
        change=compute_change(page.previous.severity, page.scan.severity) if page.previous else {},
        payload=json.dumps([scan.display.make_payload() for scan in shown if scan.display]),
    )
    write_text(path, html, private=bool(page.identity))
    return path


def read_page_template(name: str) -> jinja2.Template:
    """Read a template of this folder, which may call :func:`translate` as ``word``."""
    return read_template("kicc_ml.clinic.page", name, functions={"word": translate, "share": format_share})


def translate(name: str) -> Markup:
    """Return a text in both languages, of which the page shows one."""
    english, korean = (escape(text) for text in TRANSLATIONS[name])
    return Markup(f'<span lang="en">{english}</span><span lang="ko">{korean}</span>')


def make_zone_cells(severity: SeverityMap) -> list[dict[str, object]]:
    """Make the zones of the diagram, from the top; the patient's right is on the left."""
    cells = []
    for column, side in enumerate(SIDES):
        for row, third in enumerate(THIRDS):
            score = severity.zone_score.get(f"{side}_{third}")
            cells.append(
                {
                    "side": side,
                    "third": third,
                    "column": column,
                    "row": row,
                    "score": score,
                    "percent": severity.zone_percent.get(f"{side}_{third}"),
                    "fill": "#eeeeee" if score is None else ZONE_FILL[score],
                    "ink": "#1a1a1a" if score is None else ZONE_INK[score],
                }
            )
    return cells
