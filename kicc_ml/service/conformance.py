"""The DICOM conformance statement (PS3.2) of a hospital node as a page of Markdown: ``docs/dicom-conformance.md``.

Write the page again with ``python -m kicc_ml.service.conformance`` in the folder of the repository.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    Verification,
)

from kicc_ml.core.files import write_text
from kicc_ml.dicom.results.segmentation import SERIES_NUMBER
from kicc_ml.service.delivery import ANSWER_S, CONNECT_S, HAS_IT, MOST_AT_ONCE
from kicc_ml.service.dicom_node import NETWORK_S, make_entity
from kicc_ml.service.intake import Status
from kicc_ml.service.settings import DicomSettings

PAGE = Path("docs/dicom-conformance.md")
#: SOP class of each object that is made (its file without suffix), of which images, and what it holds.
CREATED: dict[str, tuple[Any, str, str]] = {
    "segmentation": (SegmentationStorage, "CT", "binary, one segment each for lungs, lesion and consolidation"),
    "map": (ParametricMapStorage, "CT", "float32, probability that a voxel is part of a lesion"),
    "report": (Comprehensive3DSRStorage, "CT, radiograph", "TID 1500; the root of the results"),
    "picture": (SecondaryCaptureImageStorage, "CT, radiograph", "RGB, burned-in annotation"),
    "summary": (EncapsulatedPDFStorage, "CT", "one page"),
}
MEANINGS = {
    Status.STORED: "stored: the object is on the disk and in the queue",
    Status.OUT_OF_RESOURCES: "the disk is nearly full, or a limit of `study` is reached; send it again later",
    Status.MISMATCH: "the object is not the one that was announced",
    Status.NOT_UNDERSTOOD: "the object is not valid DICOM",
    Status.OTHER_CONTENT: "another object was received under this UID",
}
STATEMENT = """# DICOM conformance statement

Of `kicc-ml serve` ([a node in the hospital](hospital-node.md)), after DICOM PS3.2. This page is made from the code by
`python -m kicc_ml.service.conformance`. Research use only.

## Services

| service | role | peer |
|---|---|---|
| Verification (C-ECHO) | SCP | AE titles of `dicom.senders` |
| Storage (C-STORE) | SCP | AE titles of `dicom.senders` |
| Storage (C-STORE) | SCU | the PACS of `pacs.host` |
| STOW-RS (PS3.18 10.5) | origin server | programs with the token ([page](hospital-page.md#studies-by-stow-rs)) |
| STOW-RS | user agent | the DICOMweb service of `pacs.stow` |

There is no Query/Retrieve, Storage Commitment, Modality Worklist, MPPS or Print, and no media are written.

## Associations

| | |
|---|---|
| Application context | 1.2.840.10008.3.1.1.1 |
| Implementation class UID | {implementation_uid} |
| Implementation version name | {implementation_version} |
| Asynchronous operations | no |
| Extended negotiation, user identity | none |
| Called AE title | must be `dicom.title` (`{settings.title}` unless configured) |
| Calling AE title | must be one of `dicom.senders` |
| Associations at once, as SCP | `dicom.associations` ({settings.associations}); one more is rejected |
| Largest PDU received | `dicom.pdu_bytes` ({settings.pdu_bytes}) |
| Largest object | `dicom.object_mib` ({settings.object_mib} MiB); the association of a larger one is aborted |
| Time-out of an association, as SCP | {network_s} s |
| Time-out of an object, as SCP | `dicom.association_idle_s` ({idle_s} s) |
| As SCU | one association at a time, for up to {most} objects; {connect_s} s to connect, {answer_s} s for an answer |

## Storage as SCP

The node keeps what it takes for as long as it needs it, and is no archive: all attributes are kept (level 2), no
storage commitment. Series other than CT and radiographs (CR, DX) are received and refused with a reason. It answers:

| status | meaning |
|---|---|
{statuses}

### Transfer syntaxes

Of every SOP class below; Verification has Implicit VR Little Endian, Explicit VR Little Endian and Explicit VR Big
Endian. Deflated and video transfer syntaxes are not accepted.

| name | UID |
|---|---|
{syntaxes}

### SOP classes

| name | UID |
|---|---|
{classes}

## Storage as SCU

A presentation context is proposed for each SOP class that is sent, with Explicit VR Little Endian
(1.2.840.10008.1.2.1) alone. The statuses {has_it} count as stored; after any other the object is sent again after a
pause that grows to `pacs.longest_pause_s`.

| object | SOP class | UID | series number | made of | content |
|---|---|---|---|---|---|
{created}

Each object belongs to the patient, the study and (Segmentation, Parametric Map) the frame of reference of its source.
Its UID follows from study, images and model, so that a repeated prediction gives the same UID. Texts are in UTF-8
(ISO_IR 192), whatever the character set of the source.

The report is the root of the results in the sense of IHE AI Results: it refers to the segments of the Segmentation,
to Parametric Map and picture as (130401, DCM, "Visual explanation") and to the slice on which the lesion is seen best
as (121080, DCM, "Best illustration of finding"). Each measurement group has a tracking identifier, a tracking UID
that is the same in all studies of a patient, and the identification of the algorithm. Codes are of SNOMED CT, DCM and
UCUM; those of the scheme 99KICC are of this project.

## Security

TLS 1.2 or later with `dicom.tls_certificate`; with `dicom.tls_authorities` peers need a certificate (PS3.15 B.9,
B.10). Events are noted with the fields of PS3.15 A.5 ([audit log](hospital-page.md#the-audit-log)).
"""


def make_statement() -> str:
    """Make the statement as Markdown."""
    settings = DicomSettings()
    contexts = [
        (cast(Any, one.abstract_syntax), one.transfer_syntax) for one in make_entity(settings).supported_contexts
    ]
    (syntaxes,) = {tuple(syntaxes) for uid, syntaxes in contexts if uid != Verification}
    classes = sorted((uid.name, str(uid)) for uid, _ in contexts if uid != Verification)
    created = [
        (f"`{name}.dcm`", kind.name, kind, str(SERIES_NUMBER[name]), images, content)
        for name, (kind, images, content) in CREATED.items()
    ]
    return STATEMENT.format(
        settings=settings,
        implementation_uid=PYNETDICOM_IMPLEMENTATION_UID,
        implementation_version=PYNETDICOM_IMPLEMENTATION_VERSION,
        **{
            "network_s": NETWORK_S,
            "idle_s": f"{settings.association_idle_s:.0f}",
            "connect_s": CONNECT_S,
            "answer_s": ANSWER_S,
            "most": MOST_AT_ONCE,
        },
        statuses=_make_rows((_format(one), meaning) for one, meaning in MEANINGS.items()),
        syntaxes=_make_rows((one.name, one) for one in syntaxes),
        classes=_make_rows(classes),
        has_it=", ".join(map(_format, sorted(HAS_IT))),
        created=_make_rows(created),
    )


def _make_rows(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _format(status: int) -> str:
    return f"0x{status:04X}"


if __name__ == "__main__":
    write_text(PAGE, make_statement())
