"""A de-identified repository: nobody is in it, every voxel is, and it is indexed as its source was.

What identifies is gathered from the source by pydicom alone, and looked for in the raw bytes of every output file.
"""

import csv
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from kicc_ml.apps.cli import app
from kicc_ml.cohort.repository import repository
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case
from kicc_ml.data.mask_file import read_mask
from kicc_ml.dicom.deidentify.copy import write_deidentified
from kicc_ml.dicom.deidentify.export import ExportResult, Selection, choose_series, export_series, refuse_overlap
from kicc_ml.dicom.deidentify.manifest import open_copy
from kicc_ml.dicom.index.build import SourceIndex, read_index
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.synthetic.repository import synthesize
from tests.support.identifying_headers import add_columns, enrich
from tests.support.phantom_files import write_series
from tests.support.phantoms import Grid, even_mm

#: Shorter pieces are in any picture by chance.
SHORTEST = 4
TEXTS = {"LO", "SH", "ST", "LT", "UT", "AE"}
#: Kept on purpose: what the picture is made by, and of what.
KEPT = {"Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "RescaleType"}
#: Why a usable series is called repaired although the files it is made of have no fault.
OTHER_FILES = {"dose_page", "localizer", "duplicate_slice"}


pytestmark = pytest.mark.usefixtures("cache_in_a_temporary_folder")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """One hospital with every habit (Korean names, private tags, dose pages ...), and more in its headers."""
    root = tmp_path_factory.mktemp("hospital") / "source"
    synthesize(root, "demo", 5, sites=1, patients=5, matrix=32, slices=12)
    for number, path in enumerate(images(root)):
        enrich(path, number)
    add_columns(root / "clinical.csv")
    return root


@pytest.fixture(scope="module")
def copy(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("copy") / "out"
    ran = CliRunner().invoke(app, ["export-dataset", str(source), "-o", str(out)])
    assert ran.exit_code == 0, ran.output
    return out


@pytest.fixture(scope="module")
def cases(source, copy) -> tuple[list[Case], list[Case]]:
    return repository(source), repository(copy)


def images(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and path.read_bytes()[128:132] == b"DICM")


def secrets(root: Path) -> set[bytes]:
    """Every value of the source that identifies: names, numbers, dates, UIDs, private values, texts, folder names."""
    found: set[bytes] = set()
    for path in images(root):
        dataset = pydicom.dcmread(path)
        for element in (*dataset.file_meta, *dataset.iterall()):
            found |= set(_pieces(element))
        raw_name = pydicom.dcmread(path).get_item("PatientName").value
        found |= set(re.split(rb"[\^=]", raw_name))
        found |= {part.encode() for part in path.relative_to(root).parts[1:]}
    for row in csv.DictReader((root / "clinical.csv").open(encoding="utf-8")):
        words = [row[name] for name in row if name.endswith(("_date", "_id")) or name in ("remark", "telephone")]
        found |= {word.encode() for word in words}
    return {piece for piece in found if len(piece.strip()) >= SHORTEST}


def _pieces(element: pydicom.DataElement) -> Iterator[bytes]:
    values = element.value if element.VM > 1 else [element.value]
    for value in values:
        if isinstance(value, bytes):
            yield from [value[:64]] if element.tag.is_private or element.tag.group >> 8 in (0x50, 0x60) else []
        elif element.VR == "PN":
            for word in re.split(r"[\^=]", str(value)):
                yield from (word.encode(code) for code in ("utf-8", "cp949", "utf-16-le"))
        elif element.VR == "UI" and not str(value).startswith("1.2.840.10008."):
            yield str(value).encode()
        elif element.VR in ("DA", "DT"):
            day = str(value)[:8]
            yield from (day.encode(), f"{day[:4]}-{day[4:6]}-{day[6:]}".encode())
        elif element.tag.is_private or (element.VR in TEXTS and element.keyword not in KEPT):
            yield str(value).encode()


def contents(root: Path) -> dict[str, bytes]:
    """Name and bytes of each file, unpacked where it is packed."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in files
    }


def exported_to(out: Path, found: list[SourceIndex], selection: Selection) -> ExportResult:
    chosen = choose_series(found, selection)
    with open_copy(out, [one.key for one in found]) as copy:
        return export_series(chosen, selection, copy)


def by_source_series(root: Path, folders: bool) -> dict:
    """Series by the pseudonym that the source's series has."""
    (found,) = read_index([root])
    return {series.files[0].parent.name if folders else series.uid: series for series in found.series}


def test_no_name_number_date_uid_or_private_value_of_the_source_is_in_any_byte(source, copy):
    wanted = secrets(source)
    assert wanted >= {b"19580731", b"HANKOOK PRIVATE", b"RRN580731100", b"HANKOOKPACS", b"Referrer", b"1958-07-31"}
    assert len(occurring(wanted, source)) > 300
    assert occurring(wanted, copy) == set()


def occurring(pieces: set[bytes], root: Path) -> set[bytes]:
    everything = b"\n".join(name.encode() + b"\n" + raw for name, raw in contents(root).items())
    return {piece for piece in pieces if piece in everything}


def test_volumes_and_affines_of_the_copy_are_those_of_the_source(source, copy):
    before, after = by_source_series(source, folders=False), by_source_series(copy, folders=True)
    assert set(before) == set(after)
    assert {series.modality for series in before.values()} == {"CT", "CXR"}
    for uid, series in before.items():
        there, here = read_volume(series), read_volume(after[uid])
        np.testing.assert_array_equal(here.array, there.array)
        np.testing.assert_array_equal(here.affine_ras, there.affine_ras)


def test_the_copy_is_judged_as_the_source_but_for_files_that_were_not_to_be_copied(source, copy):
    before, after = by_source_series(source, folders=False), by_source_series(copy, folders=True)
    for uid, series in before.items():
        expected = [reason for reason in series.reasons if reason not in OTHER_FILES]
        verdict = "usable" if series.usable and not expected else series.verdict
        assert (after[uid].verdict, list(after[uid].reasons)) == (verdict, expected)
        same = ("modality", "rows", "columns", "slices", "spacing_mm", "projection", "vendor", "model", "kernel")
        assert [getattr(after[uid], name) for name in same] == [getattr(series, name) for name in same]


def test_the_copy_is_a_repository_with_the_same_cases(cases):
    before, after = cases
    assert len(before) == len(after) == 5
    for there, here in zip(before, after, strict=True):
        assert [bool(case.ct) for case in (here, there)] == [bool(there.ct)] * 2
        assert set(here.masks) == set(there.masks)
        assert dict(here.endpoints) == pytest.approx(dict(there.endpoints), nan_ok=True)
        known = {name: value for name, value in there.clinical.items() if name != "telephone"}
        assert dict(here.clinical) == pytest.approx(known, nan_ok=True)


def test_images_and_table_of_a_patient_are_moved_by_the_same_days(cases):
    for there, here in zip(*cases, strict=True):
        taken = [image.acquired for image in (there.ct or there.cxr, here.ct or here.cxr)]
        assert taken[0] - taken[1] == there.admitted - here.admitted
    assert len({there.admitted - here.admitted for there, here in zip(*cases, strict=True)}) > 1


def test_masks_lie_under_the_new_uids_with_the_same_voxels(cases):
    compared = 0
    for there, here in zip(*cases, strict=True):
        for region, path in there.masks.items():
            np.testing.assert_array_equal(read_mask(here.masks[region])[0], read_mask(path)[0])
            np.testing.assert_array_equal(read_mask(here.masks[region])[1], read_mask(path)[1])
            compared += 1
    assert compared >= 4


def test_a_second_run_writes_nothing_again_and_the_source_is_as_it_was(source, copy):
    before, of_source = {path: path.stat().st_mtime_ns for path in images(copy)}, contents(source)
    ran = CliRunner().invoke(app, ["export-dataset", str(source), "-o", str(copy)])
    assert ran.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in images(copy)} == before
    assert contents(source) == of_source


def test_what_is_selected_is_written_and_nothing_else(source, tmp_path):
    found = read_index([source])
    exported = exported_to(tmp_path / "out", found, Selection(modality="CXR"))
    assert {series.modality for _, series in exported.written} == {"CXR"}
    assert len(images(tmp_path / "out")) == exported.files == len(exported.written)
    with pytest.raises(UserError, match="there are the sites daegu-1"):
        exported_to(tmp_path / "none", found, Selection(sites=["seoul-9"]))
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match="there is no verdict good; choose from usable"):
        Selection(verdicts=["good"])


def test_a_damaged_file_is_set_aside_by_name_and_the_exit_status_is_3(source, tmp_path, monkeypatch):
    (found,) = read_index([source])
    victim = next(series for series in found.series if series.modality == "CT").files[2]

    def broken(path: Path, *arguments, **options) -> None:
        if path == victim:
            raise ValueError("Hong^Gildong")
        write_deidentified(path, *arguments, **options)

    monkeypatch.setattr("kicc_ml.dicom.deidentify.export.write_deidentified", broken)
    ran = CliRunner().invoke(app, ["export-dataset", str(source), "-o", str(tmp_path / "out"), "--modality", "CT"])
    assert ran.exit_code == 3
    assert f"set aside: {found.name_file(victim)}" in ran.output.replace("\n", "")
    assert "Gildong" not in ran.output


def test_pictures_with_text_are_left_out_and_counted_whatever_is_asked_for(tmp_path, write_ct, write_cxr):
    write_ct(site="seoul", SeriesInstanceUID="1.2.3.7", BurnedInAnnotation="YES")
    write_cxr(np.arange(48, dtype=np.uint16).reshape(6, 8), SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    (tmp_path / "seoul").rename(tmp_path / "source")
    exported = exported_to(tmp_path / "out", read_index([tmp_path / "source"]), Selection(verdicts=()))
    assert dict(exported.left_out) == {"burned_in": 1, "secondary_capture": 1}
    assert not exported.written
    assert not images(tmp_path)[6:]


@pytest.mark.parametrize("stated", [False, True])
def test_an_overlay_in_the_high_bits_of_a_ct_is_not_in_the_copy_and_its_hu_are_exact(tmp_path, stated):
    plane = np.zeros((16, 16), np.uint16)
    plane[2:9, 3:14] = np.random.default_rng(0).integers(0, 2, (7, 11))
    heights = even_mm(12, 5.0)
    grid = Grid(heights, rows=16, columns=16, pixel_spacing_mm=(6.0, 6.0))
    paths = write_series(tmp_path / "source" / "seoul", grid, BitsStored=12, HighBit=11)
    for path in paths:
        dataset = pydicom.dcmread(path)
        stored = np.minimum(dataset.pixel_array, 4095) | plane << 12
        dataset.PixelData = stored.astype("<u2").tobytes()
        if stated:
            for element, vr, value in ((0x10, "US", 16), (0x11, "US", 16), (0x100, "US", 16), (0x102, "US", 12)):
                dataset.add_new((0x6000, element), vr, value)
        dataset.save_as(path)
    (found,) = read_index([tmp_path / "source"])
    exported_to(tmp_path / "copy", [found], Selection())
    (copied,) = read_index([tmp_path / "copy"])
    np.testing.assert_array_equal(read_volume(copied.series[0]).array, read_volume(found.series[0]).array)
    for path in images(tmp_path / "copy"):
        assert np.frombuffer(pydicom.dcmread(path).PixelData, "<u2").max() < 4096


@pytest.mark.parametrize("out", ["source", "source/below", "."])
def test_nothing_is_written_into_a_source_nor_around_it(tmp_path, out):
    (tmp_path / "source").mkdir()
    with pytest.raises(UserError, match="lie one in the other"):
        refuse_overlap([str(tmp_path / "source")], tmp_path / out)


def test_dates_of_the_copy_are_true_dates_of_nobody(cases):
    true, moved = ({image.acquired for case in of for image in (case.ct, case.cxr) if image} for of in cases)
    assert moved
    assert max(moved) < min(true)
