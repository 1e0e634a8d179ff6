"""The worst cases of a report and a median one, in pictures."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from PIL import Image

from kicc_ml.core.errors import describe_error
from kicc_ml.core.types import Case, Modality
from kicc_ml.data.radiograph import hanging_of
from kicc_ml.dicom.series.reasons import REASONS
from kicc_ml.dicom.series.shown_files import name_case_files, name_series_files
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.evaluation.multisite import list_endpoints
from kicc_ml.evaluation.rows import choose_plotted_models
from kicc_ml.evaluation.text import make_label
from kicc_ml.pictures.case_picture import draw_case_picture
from kicc_ml.report.report import ShownCase
from kicc_ml.runs.folder import read_fold_settings

#: Cases with the lowest lesion Dice; of an endpoint the events of lowest risk, and as many others of highest.
MAX_SEGMENTED_SHOWN = 5
MAX_SHOWN_EACH_WAY = 2

#: Grey tiles and thin outlines: below this their edges ring, above it a report of four endpoints outgrows an e-mail.
JPEG_QUALITY = 80

#: Before the names of models, which may be any word, where they are columns.
RISK = "risk by "

IMAGE_NAMES: Mapping[Modality, str] = {"CT": "CT", "CXR": "radiograph"}


def show_segmented_cases(
    rows: pd.DataFrame, pictures_of: Callable[[str], Iterable[Image.Image]], cases: Mapping[str, Case]
) -> list[ShownCase]:
    """The cases of ``cases.csv`` with the lowest lesion Dice (below the median) and the median one, worst first.

    ``pictures_of`` a case id may raise what damaged files raise: the caption then says so. An image of ``cases`` with
    burned-in text is not shown.
    """
    known = rows.dropna(subset=["lesion_dice"]) if "lesion_dice" in rows else rows.iloc[:0]
    if known.empty:
        return []
    worse, median = _rank_by_error(known.assign(error=-known["lesion_dice"].astype(float)))
    shown = []
    for row in pd.concat([worse.head(MAX_SEGMENTED_SHOWN), median]).to_dict("records"):
        said = f"{row['case_id']}, {row['site']}: lesion Dice {row['lesion_dice']:.2f}{row['median']}"
        case_id, modality = str(row["case_id"]), row.get("modality", "CT")
        jpegs, remark = _encode_segmented(partial(pictures_of, case_id), cases.get(case_id), modality)
        shown.append(ShownCase("segmentation", said + remark, jpegs))
    return shown


def _encode_segmented(
    pictures: Callable[[], Iterable[Image.Image]], case: Case | None, modality: Modality
) -> tuple[tuple[bytes, ...], str]:
    """The pictures of a segmented image (JPEG), and what is to be said of them."""
    image = case.image(modality) if case else None
    if image and "burned_in" in image.reasons:  # it may be a name, and a report is sent
        return (), f"; not shown: {REASONS['burned_in']}"
    try:
        return tuple(encode_jpeg(picture) for picture in pictures()), ""
    except Exception as error:  # foreign files fail in many ways, and a report does without a picture
        return (), f"; cannot be shown: {describe_error(error, name_case_files(case) if case else {})}"


def show_predicted_cases(
    predictions: pd.DataFrame, cases: Mapping[str, Case], modalities: Sequence[Modality]
) -> list[ShownCase]:
    """Of each endpoint the cases of which the first model that is drawn (the network) erred most, and the median one.

    Events of the lowest risk, others of the highest, each of an error above the median, with the risks of the models it
    is compared with and the images of ``modalities``. Nothing without predictions or modalities.
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
    """The cases of one endpoint that are shown, by id: outcome and the risks of the models that are drawn."""
    models = choose_plotted_models(rows["model"])
    first = RISK + models[0]
    risks = rows.pivot(index="case_id", columns="model", values="probability")[models].add_prefix(RISK)
    table = rows.drop_duplicates("case_id").set_index("case_id")[["site", "label"]].join(risks)
    table = table.dropna(subset=[first]).reset_index()
    worse, median = _rank_by_error(table.assign(error=(table["label"] - table[first]).abs()))
    each_way = [worse[worse["label"] == label].head(MAX_SHOWN_EACH_WAY) for label in (1, 0)]
    return {str(row["case_id"]): _make_caption(row, models) for _, row in pd.concat([*each_way, median]).iterrows()}


def _rank_by_error(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows before the median one, the largest ``error`` first, and that one; ``median`` is how a caption ends."""
    ranked = rows.sort_values("error", ascending=False, kind="stable")
    middle = len(ranked) // 2
    return ranked.iloc[:middle].assign(median=""), ranked.iloc[middle : middle + 1].assign(median=", the median case")


def _make_caption(row: pd.Series, models: Sequence[str]) -> str:
    risks = [f"{make_label(model)} {100 * row[RISK + model]:.1f} %" for model in models if pd.notna(row[RISK + model])]
    had = "had the event" if row["label"] else "did not have the event"
    return f"{row['case_id']}, {row['site']}: {had}; predicted risk: {', '.join(risks)}{row['median']}"


def _encode_images(case: Case, modalities: Sequence[Modality]) -> tuple[tuple[bytes, ...], str]:
    """The images that a case was predicted from (JPEG), and what is to be said of them."""
    jpegs, remarks = [], []
    for modality in modalities:
        if (series := case.image(modality)) is None:
            continue
        if "burned_in" in series.reasons:  # it may be a name, and a report is sent
            remarks.append(f"; its {IMAGE_NAMES[modality]} is not shown: {REASONS['burned_in']}")
            continue
        try:
            picture = draw_case_picture(case.case_id, read_volume(series), {}, hanging_of(series))
            jpegs.append(encode_jpeg(picture))
        except Exception as error:  # foreign files fail in many ways, and a report does without a picture
            remarks.append(
                f"; its {IMAGE_NAMES[modality]} cannot be shown: {describe_error(error, name_series_files(series))}"
            )
    if not jpegs and not remarks:
        remarks.append("; without an image")
    if further := sum(series.modality in modalities for series in case.further):
        remarks.append(f"; {further} further images of other times are not shown")
    return tuple(jpegs), "".join(remarks)


def encode_jpeg(picture: Image.Image) -> bytes:
    """Small enough for a page that is sent."""
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return stream.getvalue()


def read_modalities(fold: Path) -> list[Modality]:
    """The images that the outcome network of a fold was given, by its settings."""
    settings = read_fold_settings(fold)
    shown: dict[Modality, object] = {"CT": settings.canonical_ct, "CXR": settings.canonical_cxr}
    return [modality for modality, canonical in shown.items() if canonical is not None]
