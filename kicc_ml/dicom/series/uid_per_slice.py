"""Join slices that each have a SeriesInstanceUID of their own, as some anonymisers write them, to one series."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from kicc_ml.dicom.header.read import Header

#: Minimum number of similar slices that are a scan. Fewer may be intended single slices, of a biopsy or a bolus test.
MIN_JOINED_SLICES = 10
#: Decimals to which directions and pixel spacings are compared; both are printed with more.
SAME_DIGITS = 3


def join_series(images: Sequence[Header]) -> tuple[list[Header], set[str]]:
    """Give the slices of a series that was split file by file one series pseudonym.

    CT images are joined if each is alone in its series and all have the same patient, scanner, reconstruction, plane,
    matrix and day: first within a study, then images that are also alone in their study.

    Args:
        images: headers of all images.

    Returns:
        the headers, in which a joined series has the pseudonyms of its first file; and the pseudonyms of the joined
        series.
    """
    joined: dict[int, Header] = {}
    for alone_in in (_make_series_key, _make_study_key):
        single = _group_by([image for image in images if id(image) not in joined and _is_slice(image)], alone_in)
        slices = [group[0] for group in single if len(group) == 1]
        for group in _group_by(
            slices, _make_study_and_likeness_key if alone_in is _make_series_key else _make_likeness_key
        ):
            if len(group) >= MIN_JOINED_SLICES:
                first = min(group, key=lambda image: image.path)
                joined |= {id(image): replace(image, study=first.study, series=first.series) for image in group}
    return [joined.get(id(image), image) for image in images], {image.series for image in joined.values()}


def _is_slice(image: Header) -> bool:
    return image.modality == "CT" and not image.fault and image.frame is None and image.frames == 1


def _make_series_key(image: Header) -> Hashable:
    return image.site, image.patient, image.study, image.series


def _make_study_key(image: Header) -> Hashable:
    return image.site, image.patient, image.study


def _make_study_and_likeness_key(image: Header) -> Hashable:
    return image.study, _make_likeness_key(image)


def _make_likeness_key(image: Header) -> Hashable:
    scanner = (image.vendor, image.model, image.kernel, image.kvp, image.slice_thickness_mm, image.contrast)
    picture = (image.sop_class, image.image_type, image.photometric, image.rows, image.columns, image.has_rescale)
    vectors = [_round_vector(image.orientation), _round_vector(image.pixel_spacing_mm)]
    return image.site, image.patient, scanner, picture, *vectors, image.acquired and image.acquired.date()


def _round_vector(vector: tuple[float, ...] | None) -> Hashable:
    return vector and tuple(round(value, SAME_DIGITS) + 0.0 for value in vector)


def _group_by(images: Sequence[Header], key: Callable[[Header], Hashable]) -> list[list[Header]]:
    found: dict[Hashable, list[Header]] = {}
    for image in images:
        found.setdefault(key(image), []).append(image)
    return list(found.values())
