"""A copy says nothing of the person, and everything of the picture."""

import struct
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from kicc_ml.dicom.deidentify.copy import NotExportedError, write_deidentified
from kicc_ml.dicom.deidentify.replacements import make_uid
from tests.support.copied_slices import KEY, PATIENT, STORED, parsed, rewritten
from tests.support.phantom_files import write_colour_page, write_image, write_radiograph


def item(**tags: Any) -> Dataset:
    dataset = Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


@pytest.mark.parametrize(
    "keyword",
    [
        *(
            "PatientName",
            "PatientID",
            "OtherPatientIDs",
            "AccessionNumber",
            "InstitutionName",
            "ReferringPhysicianName",
        ),
        *("OperatorsName", "StationName", "DeviceSerialNumber", "SeriesDescription", "ProtocolName", "PatientComments"),
        *("ImageComments", "StudyDescription", "PatientAddress", "AdmissionID", "ContrastBolusAgent", "EthnicGroup"),
        *("InstitutionalDepartmentName", "SoftwareVersions", "FrameComments", "IssuerOfPatientID", "StudyID"),
    ],
)
def test_text_that_may_name_somebody_is_not_in_the_copy(copied, keyword):
    assert b"SECRET" not in copied(**{keyword: "SECRET"})


@pytest.mark.parametrize("keyword", ["Manufacturer", "ConvolutionKernel", "RescaleType", "StackID", "FilterType"])
def test_a_name_in_a_text_that_is_kept_is_a_pseudonym(copied, keyword):
    raw = copied(PatientName="Hong^Gildong", **{keyword: "GILDONG 2"})
    assert b"GILDONG" not in raw
    assert len(parsed(raw)[keyword].value) == 12


@pytest.mark.parametrize(
    "keyword", ["ImageType", "BodyPartExamined", "ScanOptions", "PatientPosition", "ImageComments"]
)
def test_a_name_in_a_code_is_left_out(copied, keyword):
    assert b"GILDONG" not in copied(PatientName="Hong^Gildong", **{keyword: "GILDONG 2"})


def test_a_word_of_the_vocabulary_that_is_the_patients_name_goes_too(copied):
    copy = parsed(
        copied(PatientName="Canon^Force", Manufacturer="CANON MEDICAL", ManufacturerModelName="SOMATOM Force")
    )
    assert "CANON" not in copy.Manufacturer
    assert "Force" not in copy.ManufacturerModelName


@pytest.mark.parametrize(("keyword", "value"), [("BodyPartExamined", "CHEST"), ("ImageType", ["ORIGINAL", "CHEST"])])
def test_a_known_code_that_is_the_patients_name_is_left_out(copied, keyword, value):
    assert "CHEST" not in str(parsed(copied(PatientName="Chest^Original", **{keyword: value}))[keyword].value)


def test_a_code_string_of_an_element_without_known_values_goes_and_its_neighbours_stay(copied):
    copy = parsed(copied(SpatialLocationsPreserved="YES", RotationDirection="CW"))
    assert "SpatialLocationsPreserved" not in copy
    assert copy.RotationDirection == "CW"


def test_a_copy_holds_ascii_alone_and_states_no_character_set(copied):
    raw = copied(SpecificCharacterSet=["", "ISO 2022 IR 149"], Manufacturer="길동 메디칼")
    assert "SpecificCharacterSet" not in parsed(raw)
    assert not [value for value in parsed(raw).values() if not str(value.value).isascii()]


def test_a_name_in_hangul_is_in_no_encoding_in_the_copy(copied):
    raw = copied(
        SpecificCharacterSet=["", "ISO 2022 IR 149"],
        PatientName="Hong^Gildong=洪^吉洞=홍^길동",
        Manufacturer="길동 메디칼",
    )
    for name in ("Gildong", "길동", "吉洞"):
        assert not [code for code in ("utf-8", "cp949", "utf-16-le") if name.encode(code) in raw]


def test_private_elements_go_wherever_they_stand(copied, tmp_path):
    def add(dataset: Dataset) -> None:
        inner = item(RescaleType="HU")
        for one in (dataset, inner):
            block = one.private_block(0x0029, "SECRET CREATOR", create=True)
            block.add_new(0x10, "LO", "SECRET")
            block.add_new(0x11, "FD", struct.unpack("<d", b"SECRET!!")[0])  # numbers of known elements stay
        dataset.ModalityLUTSequence = [inner]

    raw = copied(rewritten(write_image(tmp_path / "source", STORED), add))
    assert b"SECRET" not in raw
    assert parsed(raw).ModalityLUTSequence[0].RescaleType == "HU"


@pytest.mark.parametrize("group", [0x6000, 0x601E, 0x5002])
def test_overlays_and_curves_go(copied, tmp_path, group):
    def add(dataset: Dataset) -> None:
        dataset.add_new((group, 0x0010), "US", 8)
        dataset.add_new((group, 0x0050), "SS", [1, 1])
        dataset.add_new((group, 0x3000), "OB", b"SECRET")
        dataset.add_new((group, 0x4000), "LT", "SECRET")

    raw = copied(rewritten(write_image(tmp_path / "source", STORED), add))
    assert b"SECRET" not in raw
    assert [element for element in parsed(raw) if element.tag.group == group] == []


def test_preamble_file_meta_information_and_bytes_behind_the_data_set_are_not_carried_over(copied, tmp_path):
    source = write_image(tmp_path / "source", STORED)

    def add(dataset: Dataset) -> None:
        dataset.file_meta.SourceApplicationEntityTitle = "SECRET"
        dataset.file_meta.ImplementationVersionName = "SECRET"
        dataset.file_meta.PrivateInformationCreatorUID = UID("1.2.3.99")
        dataset.file_meta.PrivateInformation = b"SECRET"

    rewritten(source, add)
    source.write_bytes(b"SECRET".ljust(128, b"!") + source.read_bytes()[128:] + b"\xfe\xff\xfe\xffSECRET SECRET")
    raw = copied(source)
    assert b"SECRET" not in raw
    assert b"1.2.3.99" not in raw
    assert raw[:128] == bytes(128)


def test_elements_behind_the_pixel_data_go(copied, tmp_path):
    def sign(dataset: Dataset) -> None:
        dataset.add_new((0xFFFA, 0xFFFA), "SQ", [item(CertificateOfSigner=b"SECRET")])
        dataset.add_new((0xFFFC, 0xFFFC), "OB", b"SECRET")

    assert b"SECRET" not in copied(rewritten(write_image(tmp_path / "source", STORED), sign))


def test_coded_terms_go_since_a_hospital_may_mean_anything_by_them(copied):
    term = item(CodeValue="028", CodingSchemeDesignator="DCM", CodeMeaning="SECRET")
    raw = copied(ProcedureCodeSequence=[term], ReferencedImageSequence=[item(PurposeOfReferenceCodeSequence=[term])])
    assert b"SECRET" not in raw
    assert not parsed(raw).ReferencedImageSequence[0].PurposeOfReferenceCodeSequence


def test_uids_are_mapped_alike_in_every_file_and_sequence(copied):
    series = "1.2.840.113619.2.55.3"
    first = parsed(copied(SeriesInstanceUID=series))
    again = parsed(
        copied(
            SeriesInstanceUID="1.2.9",
            ReferencedImageSequence=[
                item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=series)
            ],
        )
    )
    referenced = again.ReferencedImageSequence[0]
    assert referenced.ReferencedSOPInstanceUID == first.SeriesInstanceUID != series
    assert referenced.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert UID(first.SeriesInstanceUID).is_valid
    assert parsed(copied(key=b"another", SeriesInstanceUID=series)).SeriesInstanceUID != first.SeriesInstanceUID


def test_a_mapped_uid_is_a_uuid_of_version_5():
    number = int(make_uid(KEY, "1.2.3").removeprefix("2.25."))
    assert (number >> 76 & 0xF, number >> 62 & 0x3) == (5, 2)  # RFC 9562, 4.1 and 4.2


def test_what_was_done_is_stated_as_the_standard_asks(copied):
    copy = parsed(copied())
    assert (copy.PatientIdentityRemoved, copy.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    codes = [(code.CodeValue, code.CodingSchemeDesignator) for code in copy.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM"), ("113107", "DCM"), ("113108", "DCM")]
    assert copy.PatientID == copy.PatientName == PATIENT


def test_geometry_values_and_pixels_are_those_of_the_source(copied, tmp_path):
    source = pydicom.dcmread(write_image(tmp_path / "source", STORED, ImagePositionPatient=[1, 2, "3.25"], KVP=120))
    copy = parsed(copied(tmp_path / "source"))
    same = ("ImagePositionPatient", "RescaleIntercept", "Rows", "BitsStored", "KVP", "ConvolutionKernel", "ImageType")
    assert [copy[name].value for name in same] == [source[name].value for name in same]
    assert copy.PixelData == source.PixelData


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_transfer_syntax_stays(copied, tmp_path, syntax):
    source = Dataset()
    for element in pydicom.dcmread(write_image(tmp_path / "plain", STORED, PixelPaddingValue=7)):
        source.add(element)
    if syntax is ExplicitVRBigEndian:
        source.PixelData = STORED.astype(">u2").tobytes()
    source["PixelData"].VR = "OW"
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = syntax
    source.save_as(tmp_path / "source", enforce_file_format=True)
    copy = parsed(copied(tmp_path / "source"))
    assert (copy.file_meta.TransferSyntaxUID, copy.PixelPaddingValue) == (syntax, 7)
    np.testing.assert_array_equal(copy.pixel_array, STORED)


def test_the_view_that_only_a_description_tells_is_kept(copied, tmp_path):
    for description, view in (("Chest PA", "PA"), ("Thorax lateral", "LL"), ("Hong Gildong", "")):
        tags = {"ViewPosition": None, "SeriesDescription": description}
        copy = parsed(copied(write_radiograph(tmp_path / "source", STORED, **tags)))
        assert copy.get("ViewPosition", "") == view


@pytest.mark.parametrize(
    ("code", "tags"),
    [
        ("burned_in", {"BurnedInAnnotation": "YES"}),
        ("secondary_capture", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}),
        ("secondary_capture", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}),  # presentation state
    ],
)
def test_a_picture_that_may_show_a_name_is_refused(copied, tmp_path, code, tags):
    with pytest.raises(NotExportedError) as refused:
        copied(**tags)
    assert refused.value.code == code
    assert not list(tmp_path.glob("*copy*"))


def test_a_radiograph_stored_as_a_secondary_capture_is_written_where_somebody_has_looked(tmp_path):
    source = write_radiograph(tmp_path / "source", STORED, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    write_deidentified(source, tmp_path / "copy.dcm", KEY, PATIENT, secondary_captures=True)
    assert parsed((tmp_path / "copy.dcm").read_bytes()).PixelData == STORED.tobytes()


def test_a_dose_page_and_an_overlay_among_the_pixels_are_refused(copied, tmp_path):
    with pytest.raises(NotExportedError, match="dose_page"):
        copied(write_colour_page(tmp_path / "page", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"))
    embedded = rewritten(
        write_image(tmp_path / "source", STORED),
        lambda dataset: (dataset.add_new((0x6000, 0x0010), "US", 8), dataset.add_new((0x6000, 0x0102), "US", 12)),
    )
    with pytest.raises(NotExportedError, match="burned_in"):
        copied(embedded)
