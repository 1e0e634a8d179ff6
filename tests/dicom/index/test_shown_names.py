"""Nothing that an index or a doctor says of a file tells whose it is, or of which day."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from kicc_ml.apps.cli import app
from kicc_ml.dicom.header.shown_path import make_identity_mark
from kicc_ml.dicom.index.build import SourceIndex, read_index
from kicc_ml.dicom.index.shown_names import PLAIN_WORDS, hide_identity_in_path, hide_identity_in_site
from kicc_ml.dicom.index.table import make_index_table
from kicc_ml.dicom.web.cache import find_cache_folder

Writer = Callable[..., list[Path]]
KEY = b"key of the tests, which has thirty-two bytes"


@pytest.fixture(autouse=True)
def cache_in_a_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def only(source: Path) -> SourceIndex:
    (found,) = read_index([source])
    return found


def everything_said(source: Path, out: Path) -> str:
    """What index and doctor print and write of a source, page and parquet included."""
    runs = [
        ["index", str(source), "--series", "--html", str(out / "i.html"), "--out", str(out / "i.parquet")],
        ["index", str(source), "--json"],
        ["doctor", str(source)],
        ["doctor", str(source), "--json"],
    ]
    said = [CliRunner().invoke(app, run).output for run in runs]
    table = make_index_table(read_index([source])).to_json(force_ascii=False, date_format="iso")
    return "\n".join([*said, (out / "i.html").read_text(), (out / "i.parquet").read_bytes().decode("latin-1"), table])


DAYS = [
    *("20200310", "2020-03-10", "2020.3.10", "2020 03 10", "2020_03_10", "2020·03·10", "10.03.2020", "10-3-2020"),
    *("2020년3월10일", "2020년 3월 10일", "2020년 3월", "200310", "20-03-10", "20200310101500", "1583798400000"),
    *("10Mar2020", "2020-03", "2020/03/10", "2020/0310", "IM20200310x", "510713-1234567", "010-1234-5678"),
    "1.2.410.200010.77",
]


@pytest.mark.parametrize("day", DAYS)
def test_no_day_number_or_uid_is_shown_however_it_is_written(day: str):
    for path in (f"ct/{day}/IM0001", f"{day}.dcm", f"scan_{day}_copy.txt"):
        shown = hide_identity_in_path(path, KEY, frozenset())
        assert day not in shown
        assert not re.search(
            r"\d{5,}(?![0-9a-f])|20\d\d\W?0?3|0?3\W10|Mar|월|일\b", re.sub(r"[0-9a-f]{12}", "#", shown)
        )
    if "/" not in day:
        assert day not in hide_identity_in_site(f"ward {day}", KEY, frozenset()) or day == "10Mar2020"


@pytest.mark.parametrize(
    "path",
    [
        *("IM0017", "CT/097", "page.html", "DICOM/ST01/SE02/IM03.dcm", "report 1.txt", "흉부/IM1", "Thumbs.db"),
        *("series-2/slice_0100.dcm", "DICOMDIR", "study1/export.zip/IMG-1-2.dcm", "scan (2).nii.gz"),
    ],
)
def test_names_that_scanners_give_are_shown_as_they_are(path: str):
    assert hide_identity_in_path(path, KEY, frozenset()) == path


def test_a_word_that_nobody_knows_is_hidden_the_same_way_each_time():
    one, other = (hide_identity_in_path(f"Hong{number}/x.dcm", KEY, frozenset()) for number in (1, 2))
    assert "Hong" not in one
    assert one.replace("-1/", "-2/") == other
    assert hide_identity_in_path("Hong1/x.dcm", KEY[::-1], frozenset()) != one
    assert hide_identity_in_path(one, KEY, frozenset()) == one


@pytest.mark.parametrize("written", ["A-17", "a17", "A_17", "xx/A 17/1", "CT_A-17_1.dcm", "ＡA-17"])
def test_a_word_of_a_header_is_hidden_also_where_it_is_a_plain_one(written: str):
    marks = {make_identity_mark(KEY, "A-17"), make_identity_mark(KEY, "Page")}
    shown = hide_identity_in_path(f"{written}/page.html", KEY, marks)
    assert not re.search(r"(?i)a.?17|page", shown)
    assert "page" in PLAIN_WORDS


def test_hospitals_keep_their_names():
    for site in ("seoul", "busan-1", "서울대병원", "A&E 2", "H_12", "[bold]x"):
        assert hide_identity_in_site(site, KEY, {make_identity_mark(KEY, "Hong")}) == site
    assert "Hong" not in hide_identity_in_site("HONG_19510713", KEY, {make_identity_mark(KEY, "Hong")})


def test_a_name_in_what_a_header_says_of_the_scanner_is_hidden_and_a_model_is_not(tmp_path: Path, write_ct: Writer):
    write_ct(
        PatientName="Kim^Minsu", PatientID="64", ManufacturerModelName="MINSU scanner 64", ConvolutionKernel="B30 Kim"
    )
    (row,) = make_index_table(read_index([tmp_path])).to_dict("records")
    hidden = "[0-9a-f]{12}"
    assert re.fullmatch(rf"{hidden} scanner 64", row["model"])
    assert re.fullmatch(rf"B30 {hidden}", row["kernel"])


def test_the_name_of_another_patient_of_the_source_is_hidden_in_what_a_header_says_of_the_scanner(
    tmp_path: Path, write_ct: Writer
):
    write_ct(site="a", PatientName="Kim^Minsu", PatientID="1", SeriesInstanceUID="1.2.1", StudyInstanceUID="1.2.8")
    texts = {
        "Manufacturer": "MINSU imaging",
        "ManufacturerModelName": "MINSU scanner",
        "ConvolutionKernel": "B30 Minsu",
    }
    write_ct(site="b", PatientName="Lee^Jiho", PatientID="2", SeriesInstanceUID="1.2.2", **texts)
    frame = make_index_table(read_index([tmp_path])).set_index("site")
    hidden = "[0-9a-f]{12}"
    for column, shown in {
        "vendor": f"{hidden} imaging",
        "model": f"{hidden} scanner",
        "kernel": f"B30 {hidden}",
    }.items():
        assert re.fullmatch(shown, frame.loc["b", column])


class TestOutputs:
    @pytest.fixture
    def source(self, tmp_path: Path, write_ct: Writer, write_cxr: Callable[..., Path]) -> Path:
        """Folders of patient and day, as hospitals send them, with files beside that cannot be read."""
        person = {"PatientName": "Markername^Given=洪^吉洞=홍^길동", "SpecificCharacterSet": "ISO_IR 192"}
        identity = person | {"PatientID": "MARKERID77", "PatientBirthDate": "19510713", "StudyDate": "20200310"}
        folder = "busan-1/MARKERNAME_19510713"
        write_ct(site=f"{folder}/20200310/CT", name="MARKERID77_", **identity)
        write_ct(site=f"{folder}/2020년3월10일", name="홍길동_", SeriesInstanceUID="1.2.9", **identity)
        write_cxr(np.arange(48, dtype=np.uint16).reshape(6, 8), **identity)
        (tmp_path / "seoul" / "cxr").rename(tmp_path / folder / "MARKERNAME given 2020-03-10.dcm")
        (tmp_path / "seoul").rmdir()
        for name in (
            f"{folder}/broken_MARKERID77.dcm",
            f"{folder}/report_Markername.txt",
            "busan-1/UNKNOWNMARK_2020.03.10/scan.dcm",
            "busan-1/10-03-2020 page.html",
            "MARKERNAME_19510713/notes.txt",
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("-")
        return tmp_path

    def test_no_name_number_or_day_is_in_anything_that_index_and_doctor_say(
        self, source: Path, tmp_path_factory: pytest.TempPathFactory
    ):
        said = everything_said(source, tmp_path_factory.mktemp("out"))
        found = re.findall(
            r"(?i)[^\n]{0,80}(?:marker\w*|unknownmark|given|길동|홍|1951\W?0?7|2020\W?0?3\W?10|10-03-2020|3월)", said
        )
        assert found == []

    def test_a_file_of_a_series_is_called_by_site_series_and_number(self, source: Path):
        found = only(source)
        for one in found.series:
            names = [found.name_file(path) for path in one.files]
            assert names == [f"busan-1/{one.uid}/{number}" for number in range(1, len(one.files) + 1)]

    def test_what_a_name_keeps_tells_where_to_look(self, source: Path):
        found = only(source)
        names = sorted(found.name_file(row.path) for row in found.file_rows)
        hidden = r"(?:[0-9a-f]{12})"
        patterns = [
            rf"{hidden}_{hidden}/notes\.txt",
            rf"busan-1/{hidden}_{hidden}/\w+_{hidden}\.dcm",
            rf"busan-1/{hidden}_{hidden}/report_{hidden}\.txt",
            rf"busan-1/{hidden}_{hidden}/scan\.dcm",
            rf"busan-1/{hidden} page\.html",
        ]
        for pattern in patterns:
            assert any(re.fullmatch(pattern, name) for name in names), (pattern, names)

    def test_a_site_named_after_a_patient_is_one_site_still(self, tmp_path: Path, write_ct: Writer):
        write_ct(site="A-17", name="ok")
        (tmp_path / "A-17" / "notes.txt").write_text("-")
        frame = make_index_table(read_index([tmp_path]))
        assert len(set(frame["site"])) == 1
        assert "A-17" not in json.dumps(frame["site"].tolist())

    def test_true_paths_are_shown_only_where_they_are_asked_for_and_then_to_their_owner_alone(
        self, source: Path, tmp_path_factory: pytest.TempPathFactory
    ):
        out = tmp_path_factory.mktemp("out") / "new"
        files = [out / "i.html", out / "i.parquet"]
        run = ["index", str(source), "--files", "--html", str(files[0]), "--out", str(files[1])]
        assert CliRunner().invoke(app, run).exit_code == 0
        table = pd.read_parquet(files[1])
        paths = [Path(path) for one in table["files"] for path in one]
        assert len(paths) > 10
        assert all(path.exists() for path in paths)
        assert {path.stat().st_mode & 0o077 for path in files} == {0}

    def test_an_output_that_cannot_be_written_leaves_the_former_one(
        self, source: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ):
        page = tmp_path_factory.mktemp("out") / "i.html"
        page.write_text("former")

        def full(self: Path, *_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        ran = CliRunner().invoke(app, ["index", str(source), "--html", str(page)])
        assert "No space left" in str(ran.exception)
        assert page.read_text() == "former"
        assert list(page.parent.iterdir()) == [page]

    def test_a_kept_header_tells_the_same(self, source: Path):
        first, second = (
            make_index_table(read_index([source], cached=True)).to_json(date_format="iso") for _ in range(2)
        )
        assert first == second == make_index_table(read_index([source])).to_json(date_format="iso")

    def test_files_of_a_service_stay_the_pseudonyms_that_they_are(self):
        root = find_cache_folder("https://pacs.example")
        found = SourceIndex(root, KEY, [], [])
        assert found.name_file(root / "0a1b2c3d4e5f" / "a0b1c2d3e4f5.dcm") == "0a1b2c3d4e5f/a0b1c2d3e4f5.dcm"
