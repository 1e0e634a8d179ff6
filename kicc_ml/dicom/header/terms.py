"""Words and UIDs of the standard that decide what a file is. Those that only one module asks for stand there."""

from pydicom import uid

#: What a file is when Modality was stripped: SOP classes of PS3.4 B.5.
MODALITY_OF_CLASS: dict[str, str] = {
    uid.CTImageStorage: "CT",
    uid.EnhancedCTImageStorage: "CT",
    uid.LegacyConvertedEnhancedCTImageStorage: "CT",
    uid.ComputedRadiographyImageStorage: "CR",
    uid.DigitalXRayImageStorageForPresentation: "DX",
    uid.DigitalXRayImageStorageForProcessing: "DX",
}
DX_FOR_PROCESSING = uid.DigitalXRayImageStorageForProcessing
SECONDARY_CAPTURE = uid.SecondaryCaptureImageStorage
#: Supplement 243; pydicom 3.0 has no name for it.
LABEL_MAP_SEGMENTATION = uid.UID("1.2.840.10008.5.1.4.1.1.66.7")

#: Values of Modality of radiographs: computed, digital, and digitised film.
RADIOGRAPHY = {"CR", "DX", "RG"}
#: Photometric interpretations of grey images.
GREY = {"MONOCHROME1", "MONOCHROME2"}
#: Rescale Type (PS3.3 C.11.1.1.2) of values that are Hounsfield units, or whose unit is not stated; GE's reformats
#: misspell it.
HOUNSFIELD = {"", "HU", "US", "HOUNSFIELD UNIT", "HOUNDSFIELD UNIT"}

#: Compressed syntaxes that always lose something, and those that lose unless the header denies it.
LOSSY_SYNTAXES = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}
LOSSY_UNLESS_DENIED = {uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K}
