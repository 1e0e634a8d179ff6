"""Show the worst cases of a report and a median one in pictures."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from PIL import Image

from kicc_ml.core.errors import describe_error
from kicc_ml.core.types import Case, Modality, Series
from kicc_ml.data.radiograph import hanging_of
from kicc_ml.dicom.series.reasons import MAY_SHOW_TEXT, REASONS
from kicc_ml.dicom.series.shown_files import name_case_files, name_series_files
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.evaluation.multisite import list_endpoints
from kicc_ml.evaluation.rows import choose_plotted_models
from kicc_ml.evaluation.text import make_label
from kicc_ml.pictures.case_picture import draw_case_picture
from kicc_ml.report.report import ShownCase
from kicc_ml.runs.folder import read_fold_settings

#: Maximum number of cases with the lowest lesion Dice, and, for each endpoint, of events with the lowest risk and of
#: non-events with the highest risk.
MAX_SEGMENTED_SHOWN = 5
MAX_SHOWN_EACH_WAY = 2

#: Below this quality thin outlines show artefacts; above it a report of four endpoints is too large for an e-mail.
JPEG_QUALITY = 80

#: Prefix of columns named by a model, because the name of a model may be that of another column.
RISK = "risk by "

IMAGE_NAMES: Mapping[Modality, str] = {"CT": "CT", "CXR": "radiograph"}


def show_segmented_cases(
    rows: pd.DataFrame, pictures_of: Callable[[str], Iterable[Image.Image]], cases: Mapping[str, Case]
) -> list[ShownCase]:
    """Show the cases with the lowest lesion Dice (below the median) and the median one, worst first.

    Args:
        rows: rows of ``cases.csv``.
        pictures_of: draws the pictures of a case id. If it raises an exception, the caption says why.
        cases: the cases of the cohort by id. An image with burned-in text is not shown.
    """
    known = rows.dropna(subset=["lesion_dice"]) if "lesion_dice" in rows else rows.iloc[:0]
    if known.empty:
        return []
    worse, median = _rank_by_error(known.assign(error=-known["lesion_dice"].astype(float)))
    shown = []
    for row in pd.concat([worse.head(MAX_SEGMENTED_SHOWN), median]).to_dict("records"):
        caption = f"{row['case_id']}, {row['site']}: lesion Dice {row['lesion_dice']:.2f}{row['median']}"
        case_id, modality = str(row["case_id"]), row.get("modality", "CT")
        jpegs, remark = _encode_segmented(partial(pictures_of, case_id), cases.get(case_id), modality)
        shown.append(ShownCase("segmentation", caption + remark, jpegs))
    return shown


def _encode_segmented(
    pictures: Callable[[], Iterable[Image.Image]], case: Case | None, modality: Modality
) -> tuple[tuple[bytes, ...], str]:
    """Encode the pictures of a segmented image as JPEG, and return a remark for the caption."""
    image = case.image(modality) if case else None
    if image and (text := _find_text(image)):
        return (), f"; not shown: {text}"
    try:
        return tuple(encode_jpeg(picture) for picture in pictures()), ""
    except Exception as error:  # foreign files fail in many ways, and a report does without a picture
        return (), f"; cannot be shown: {describe_error(error, name_case_files(case) if case else {})}"


def _find_text(series: Series) -> str:
    """Say why a picture may show text; "" if it does not. Text may be a name, and a report is sent."""
    return next((REASONS[code] for code in MAY_SHOW_TEXT if code in series.reasons), "")


def show_predicted_cases(
    predictions: pd.DataFrame, cases: Mapping[str, Case], modalities: Sequence[Modality]
) -> list[ShownCase]:
    """Show, for each endpoint, the cases with the largest errors of the first plotted model, and the median case.

    They are events of the lowest and non-events of the highest risk, all with errors above the median. A caption lists
    the risks by all plotted models. The pictures are the images of ``modalities``.

    Returns:
        empty without predictions or modalities.
    """
    if predictions.empty or not modalities:
        return []
    known = predictions.dropna(subset=["label", "probability"]).astype({"case_id": str})
    captions = {endpoint: _make_captions(known[known["endpoint"] == endpoint]) for endpoint in list_endpoints(known)}
    ids = {case_id for of_endpoint in captions.values() for case_id in of_endpoint}
    images = {case_id: _encode_images(cases[case_id], modalities) for case_id in ids & set(cases)}
    shown = []
    for endpoint, of_endpoint in captions.items():
        for case_id, caption in of_endpoint.items():
            jpegs, remark = images.get(case_id, ((), "; no longer in the cohort"))
            shown.append(ShownCase(endpoint, caption + remark, jpegs))
    return shown


def _make_captions(rows: pd.DataFrame) -> dict[str, str]:
    """Choose the cases of one endpoint, and make their captions by case id: the outcome and the risks by model."""
    models = choose_plotted_models(rows["model"])
    first = RISK + models[0]
    risks = rows.pivot(index="case_id", columns="model", values="probability")[models].add_prefix(RISK)
    table = rows.drop_duplicates("case_id").set_index("case_id")[["site", "label"]].join(risks)
    table = table.dropna(subset=[first]).reset_index()
    worse, median = _rank_by_error(table.assign(error=(table["label"] - table[first]).abs()))
    each_way = [worse[worse["label"] == label].head(MAX_SHOWN_EACH_WAY) for label in (1, 0)]
    return {str(row["case_id"]): _make_caption(row, models) for _, row in pd.concat([*each_way, median]).iterrows()}


def _rank_by_error(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rank rows by ``error``; return the rows above the median, largest first, and the median row.

    The column ``median`` holds the end of the caption.
    """
    ranked = rows.sort_values("error", ascending=False, kind="stable")
    middle = len(ranked) // 2
    return ranked.iloc[:middle].assign(median=""), ranked.iloc[middle : middle + 1].assign(median=", the median case")


def _make_caption(row: pd.Series, models: Sequence[str]) -> str:
    risks = [f"{make_label(model)} {100 * row[RISK + model]:.1f} %" for model in models if pd.notna(row[RISK + model])]
    had = "had the event" if row["label"] else "did not have the event"
    return f"{row['case_id']}, {row['site']}: {had}; predicted risk: {', '.join(risks)}{row['median']}"


def _encode_images(case: Case, modalities: Sequence[Modality]) -> tuple[tuple[bytes, ...], str]:
    """Encode the images from which a case was predicted as JPEG, and return a remark for the caption."""
    jpegs, remarks = [], []
    for modality in modalities:
        if (series := case.image(modality)) is None:
            continue
        if text := _find_text(series):
            remarks.append(f"; its {IMAGE_NAMES[modality]} is not shown: {text}")
            continue
        try:
            picture = draw_case_picture(case.case_id, read_volume(series), {}, hanging_of(series))
            jpegs.append(encode_jpeg(picture))
        except Exception as error:  # foreign files fail in many ways, and a report is useful without a picture
            remarks.append(
                f"; its {IMAGE_NAMES[modality]} cannot be shown: {describe_error(error, name_series_files(series))}"
            )
    if not jpegs and not remarks:
        remarks.append("; without an image")
    if further := sum(series.modality in modalities for series in case.further):
        remarks.append(f"; {further} further images of other times are not shown")
    return tuple(jpegs), "".join(remarks)


def encode_jpeg(picture: Image.Image) -> bytes:
    """Encode a picture as JPEG, small enough for a page that is sent by e-mail."""
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return stream.getvalue()


def read_modalities(fold: Path) -> list[Modality]:
    """Read from the settings of a fold which images its outcome network gets."""
    settings = read_fold_settings(fold)
    shown: dict[Modality, object] = {"CT": settings.canonical_ct, "CXR": settings.canonical_cxr}
    return [modality for modality, canonical in shown.items() if canonical is not None]
