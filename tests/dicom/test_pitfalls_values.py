"""Series and radiographs with exactly one defect each: what their values mean, what they show, whom they name.

Continues ``test_pitfalls``; here too with what SimpleITK 2.5 and MONAI 1.6 make of the same files.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from monai.data import PydicomReader
from pydicom.dataelem import DataElement

from kicc_ml.cohort.index_image import IndexRule, index_image
from kicc_ml.core.types import Series
from kicc_ml.dicom.index.build import index_sources
from kicc_ml.dicom.index.table import make_undated_index_table
from kicc_ml.dicom.volume.read import read_volume
from tests.support.judging import ROUNDING_HU
from tests.support.peers import monai_reads, simpleitk_reads
from tests.support.phantom_files import (
    CR_IMAGE,
    CT_IMAGE,
    DX_FOR_PRESENTATION,
    DX_FOR_PROCESSING,
    write_image,
    write_radiograph,
    write_series,
    write_study,
)
from tests.support.phantoms import Grid, errors_hu, even_mm

EVEN = Grid(even_mm(6))


def only(folder: Path) -> Series:
    (series,), _ = index_sources([folder.parent])
    return series


class TestSeveralSeriesInAStudy:
    def test_the_thin_axial_one_over_the_whole_lung_is_taken_and_the_others_are_logged(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ):
        files = write_study(folder)
        series, rows = index_sources([folder.parent])
        assert [one.verdict for one in series] == ["usable"] * 5
        assert rows == []
        with caplog.at_level("INFO"):
            taken, obstacles = index_image("CT", series, {}, IndexRule())
        assert taken is not None
        assert set(taken.files) == set(files["thin"])
        assert not obstacles
        logged = "\n".join(record.getMessage() for record in caplog.records)
        for reason in ("thicker", "its kernel is neither", "covers less of the lungs", "not axial"):
            assert logged.count(reason) == 1

    def test_simpleitk_takes_the_first_series(self, folder: Path):
        write_study(folder)
        assert simpleitk_reads(folder).spacing_z_mm == pytest.approx(7.0)

    def test_monai_piles_all_of_them_into_one_volume(self, folder: Path):
        files = write_study(folder)
        assert monai_reads(folder).slices == sum(len(paths) for paths in files.values())


class TestNoRescale:
    @pytest.mark.parametrize("gone", ["RescaleSlope", "RescaleIntercept"])
    def test_ct_without_it_is_refused(self, folder: Path, gone: str):
        write_series(folder, EVEN, **{gone: None})
        assert (only(folder).verdict, only(folder).reasons) == ("refused", ("no_rescale",))

    def test_simpleitk_and_monai_give_stored_values(self, folder: Path):
        write_series(folder, EVEN, RescaleSlope=None, RescaleIntercept=None)
        for reading in (simpleitk_reads(folder), monai_reads(folder)):
            assert reading.array_xyz.min() == EVEN.hu.min() + 1024


class TestRescaleType:
    @pytest.mark.parametrize("unit", ["OD", "MGML", "HU_MOD", "PCT", "Z_EFF"])
    def test_values_in_another_unit_are_refused(self, folder: Path, unit: str):
        """PS3.3 C.11.1.1.2: optical density, electron density, effective atomic number ... are no HU."""
        write_series(folder, EVEN, RescaleType=unit)
        assert (only(folder).verdict, only(folder).reasons) == ("refused", ("not_hu",))

    @pytest.mark.parametrize("unit", ["HU", "US", None, "Houndsfield Unit"])
    def test_hounsfield_units_and_no_statement_are_read(self, folder: Path, unit: str | None):
        """GE writes the third of its reformats."""
        write_series(folder, EVEN, RescaleType=unit)
        assert only(folder).verdict == "usable"

    def test_simpleitk_and_monai_do_not_look(self, folder: Path):
        write_series(folder, EVEN, RescaleType="OD")
        for reading in (simpleitk_reads(folder), monai_reads(folder)):
            assert errors_hu(reading.array_xyz, reading.affine_ras).max() <= ROUNDING_HU


@pytest.mark.parametrize("padding", [-2000, -3024])
class TestPadding:
    @pytest.fixture
    def padded(self, folder: Path, padding: int) -> None:
        """Signed HU with the corners outside a round field of view padded, as GE and Siemens do."""
        for k, hu in enumerate(EVEN.hu):
            stored = hu.copy()
            stored[:6, :6] = padding
            place = {"ImagePositionPatient": EVEN.positions_mm[k].round(6).tolist(), "InstanceNumber": k + 1}
            grid = {"ImageOrientationPatient": list(EVEN.orientation), "PixelSpacing": list(EVEN.pixel_spacing_mm)}
            stated = {"PixelPaddingValue": DataElement("PixelPaddingValue", "SS", padding)}
            write_image(folder / f"s{k}", stored, RescaleIntercept=0, **place, **grid, **stated)

    def test_it_becomes_air_and_the_rest_stays(self, folder: Path, padded: None, padding: int):
        assert only(folder).verdict == "usable"
        volume = read_volume(only(folder))
        assert (volume.array[:6, :6] == -1024).all()
        assert errors_hu(volume.array, volume.affine_ras)[6:, 6:].max() <= ROUNDING_HU

    def test_simpleitk_and_monai_keep_it(self, folder: Path, padded: None, padding: int):
        for reading in (simpleitk_reads(folder), monai_reads(folder)):
            assert reading.array_xyz.min() == padding


class TestMonochrome1:
    def test_ct_is_not_inverted(self, folder: Path):
        write_series(folder, EVEN, PhotometricInterpretation="MONOCHROME1")
        volume = read_volume(only(folder))
        assert only(folder).verdict == "usable"
        assert errors_hu(volume.array, volume.affine_ras).max() <= ROUNDING_HU

    def test_radiograph_is_inverted(self, folder: Path):
        stored = np.tile(np.arange(0, 1000, 25, dtype=np.uint16), (32, 1))  # lung, at the right, dark
        tags = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 10, "HighBit": 9}
        write_radiograph(folder / "one", stored, **tags)
        brightness = read_volume(only(folder)).array[:, 0, 0]
        assert (np.diff(brightness) < 0).all()

    def test_simpleitk_inverts_hounsfield_units(self, folder: Path):
        write_series(folder, EVEN, PhotometricInterpretation="MONOCHROME1")
        reading = simpleitk_reads(folder)
        assert errors_hu(reading.array_xyz, reading.affine_ras).min() > 10_000

    def test_monai_leaves_ct_as_it_is_but_also_a_radiograph(self, folder: Path):
        write_series(folder / "ct", EVEN, PhotometricInterpretation="MONOCHROME1")
        reading = monai_reads(folder / "ct")
        assert errors_hu(reading.array_xyz, reading.affine_ras).max() <= ROUNDING_HU
        stored = np.tile(np.arange(40, dtype=np.uint16), (32, 1))
        path = write_radiograph(folder / "cxr.dcm", stored, PhotometricInterpretation="MONOCHROME1")
        assert (np.diff(monai_reads(path).array_xyz, axis=0) > 0).all()


class TestRadiographs:
    PICTURE = np.tile(np.arange(40, dtype=np.uint16), (32, 1))

    @pytest.mark.parametrize("projection", ["AP", "PA"])
    def test_projection_is_kept(self, folder: Path, projection: str):
        write_radiograph(folder / "one", self.PICTURE, ViewPosition=projection)
        series = only(folder)
        assert (series.verdict, series.projection, series.view) == ("usable", projection, projection)

    @pytest.mark.parametrize("view", ["LL", "RL", "LATERAL"])
    def test_lateral_is_refused(self, folder: Path, view: str):
        write_radiograph(folder / "one", self.PICTURE, ViewPosition=view)
        assert (only(folder).verdict, only(folder).reasons) == ("refused", ("lateral_view",))

    def test_image_for_processing_is_refused_and_its_presentation_kept(self, folder: Path):
        for name, sop_class in (("raw", DX_FOR_PROCESSING), ("shown", DX_FOR_PRESENTATION)):
            write_radiograph(folder / name, self.PICTURE, SOPClassUID=sop_class, Modality="DX")
        series, _ = index_sources([folder.parent])
        verdicts = {one.files[0].name: (one.verdict, one.reasons) for one in series}
        assert verdicts == {"raw": ("refused", ("for_processing",)), "shown": ("usable", ())}

    @pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")])
    def test_a_film_whose_tags_disagree_whether_it_is_a_negative_is_refused(
        self, folder: Path, photometric: str, shape: str
    ):
        write_radiograph(
            folder / "one", self.PICTURE, PhotometricInterpretation=photometric, PresentationLUTShape=shape
        )
        assert (only(folder).verdict, only(folder).reasons) == ("refused", ("contradicting_display",))

    @pytest.mark.parametrize("shape", ["INVERSE", None])
    def test_a_negative_that_says_so_twice_is_turned_over_once(self, folder: Path, shape: str | None):
        tags = {"PresentationLUTShape": shape} if shape else {}
        write_radiograph(folder / "one", self.PICTURE, PhotometricInterpretation="MONOCHROME1", **tags)
        shown = read_volume(only(folder)).array[..., 0]
        assert (np.diff(shown, axis=0) == -1).all()

    @pytest.mark.parametrize(("modality", "sop_class"), [("CT", CR_IMAGE), ("CT", DX_FOR_PRESENTATION)])
    def test_radiograph_that_says_ct_is_refused(self, folder: Path, modality: str, sop_class: str):
        write_radiograph(folder / "one", self.PICTURE, Modality=modality, SOPClassUID=sop_class)
        series = only(folder)
        assert series.verdict == "refused"
        assert {"wrong_modality", "no_position"} & set(series.reasons)

    def test_ct_that_says_radiograph_is_refused(self, folder: Path):
        write_series(folder, EVEN, Modality="CR", SOPClassUID=CT_IMAGE)
        series, _ = index_sources([folder.parent])
        assert {(one.verdict, one.reasons) for one in series} == {("refused", ("wrong_modality",))}

    @pytest.mark.parametrize("tags", [{"ViewPosition": "LL"}, {"SOPClassUID": DX_FOR_PROCESSING}, {"Modality": "CT"}])
    def test_simpleitk_and_monai_read_each_without_a_word(self, folder: Path, tags: dict[str, Any]):
        path = write_radiograph(folder / "one.dcm", self.PICTURE, **tags)
        shown = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).squeeze()
        np.testing.assert_array_equal(shown, self.PICTURE)
        np.testing.assert_array_equal(monai_reads(path).array_xyz.squeeze(), self.PICTURE.T)


KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
CHARACTER_SETS: dict[str, tuple[Any, bytes]] = {
    "IR 149": (
        ["", "ISO 2022 IR 149"],
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
    ),
    "UTF-8": ("ISO_IR 192", KOREAN.encode()),
    "GB18030": ("GB18030", KOREAN.encode("gb18030")),
    "CP949 without a statement": (None, "홍^길동".encode("cp949")),
    "CP949 under a Latin statement": ("ISO_IR 100", "홍^길동".encode("cp949")),
    "unknown statement": ("KLINGON 99", "홍^길동".encode("cp949")),
    "IR 149 cut within a character": (["", "ISO 2022 IR 149"], b"Hong=\x1b$)C\xfb"),
}


class TestText:
    @pytest.mark.parametrize(("stated", "name"), CHARACTER_SETS.values(), ids=CHARACTER_SETS.keys())
    def test_korean_name_in_any_encoding_neither_stops_the_index_nor_appears(
        self, folder: Path, stated: Any, name: bytes
    ):
        named = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "@" * len(name)}
        for path in write_series(folder, EVEN, **named):
            path.write_bytes(with_character_set(path.read_bytes().replace(b"@" * len(name), name), stated))
        (series,), rows = index_sources([folder.parent])
        assert (series.verdict, rows) == ("usable", [])
        assert errors_hu(read_volume(series).array, read_volume(series).affine_ras).max() <= ROUNDING_HU
        printed = everything_in(make_undated_index_table([series], rows, [folder.parent]))
        assert not any(word in printed for word in ("Hong", "Gildong", "길동", "吉洞", "A-17"))

    def test_private_and_burned_in_say_nothing_in_the_index_but_that_they_are_there(self, folder: Path):
        private = {
            "private": DataElement(0x00091010, "LO", "SECRET-4711"),
            "owner": DataElement(0x00090010, "LO", "ACME"),
        }
        tags = {"BurnedInAnnotation": "YES", "PatientName": "Hong^Gildong", "PatientBirthDate": "19570413"}
        tags |= {"PatientComments": "SECRET-4711", "ReferringPhysicianName": "Heo^Jun"}
        write_series(folder, EVEN, **tags, **private)
        series, rows = index_sources([folder.parent])
        printed = everything_in(make_undated_index_table(series, rows, [folder.parent]))
        secrets = ("SECRET", "ACME", "Hong", "19570413", "1957", "Heo", "A-17", "1.2.3.1")
        assert [word for word in secrets if word in printed] == []

    def test_simpleitk_hands_the_patients_name_on_and_monai_does_not(self, folder: Path):
        path = write_series(folder, EVEN, PatientName="Hong^Gildong")[0]
        assert "Hong" in SimpleITK.ReadImage(str(path)).GetMetaData("0010|0010")
        reader = PydicomReader()
        _, meta = reader.get_data(reader.read(folder))
        assert "Hong" not in str(meta)


def with_character_set(data: bytes, stated: Any) -> bytes:
    """The file with another SpecificCharacterSet, as bytes: no writer would let these through."""
    element = b"\x08\x00\x05\x00CS"
    start = data.index(element)
    length = int.from_bytes(data[start + 6 : start + 8], "little")
    if stated is None:
        return data[:start] + data[start + 8 + length :]
    value = ("\\".join(stated) if isinstance(stated, list) else stated).encode()
    value += b" " * (len(value) % 2)
    return data[:start] + element + len(value).to_bytes(2, "little") + value + data[start + 8 + length :]


def everything_in(frame: pd.DataFrame) -> str:
    return frame.to_json(force_ascii=False, date_format="iso")
