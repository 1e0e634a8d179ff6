"""Known values of descriptive elements, which describe devices and images and not persons.

Free text and code strings stay in a copy only if they are listed here. Any other value could hold anything, for example
a resident registration number.

Sources: PS3.3 C.7 and C.8 (enumerated values and defined terms), PS3.16 annex L (body parts), the conformance
statements of the vendors (names of products, kernels and scan options).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

#: Separators of words in a value: ``GE MEDICAL SYSTEMS``, ``X_SPIRAL_LOW``, ``HiSpeed CT/i``.
BETWEEN_WORDS = re.compile(r"[\s_,;:()/\\.&+-]+")


@dataclass(frozen=True)
class AllowedWords:
    """Values whose words are all listed in ``words`` (upper case) or match the pattern ``code`` completely."""

    words: frozenset[str]
    code: re.Pattern[str] = re.compile(r"(?!)")

    def __contains__(self, value: str) -> bool:
        words = [word for word in BETWEEN_WORDS.split(value.upper()) if word]
        return all(word in self.words or self.code.fullmatch(word) for word in words)


def _allow(words: str, code: str = r"(?!)") -> AllowedWords:
    return AllowedWords(frozenset(words.split()), re.compile(code))


#: Number of a product, version or step with up to two letters: too short for a date or a number of a person.
SHORT_CODE = r"\d{1,3}[A-Z]{0,2}"

MANUFACTURERS = _allow(
    "SIEMENS HEALTHINEERS HEALTHCARE HEALTH AG GMBH GE GENERAL ELECTRIC MEDICAL MEDICALS SYSTEM SYSTEMS COMPANY "
    "PHILIPS DUNLEE TOSHIBA MEC CANON HITACHI FUJI FUJIFILM PHOTO FILM CO LTD INC CORP CORPORATION KK NV BV "
    "UIH UNITED IMAGING SHANGHAI NEUSOFT NEUROLOGICA SAMSUNG ELECTRONICS CARESTREAM KODAK EASTMAN AGFA GEVAERT "
    "KONICA MINOLTA SHIMADZU HOLOGIC LUNIT VIEWORKS RAYENCE VATECH DRTECH DRGEM LISTEM JPI GENORAY DONGKANG DK "
    "ELEKTA VARIAN IMATRON PICKER MARCONI ELSCINT CEDARA SWISSRAY STEPHANIX ZIEHM TRIXELL VAREX IRAY ISDT "
    "ANKE MINFOUND SINOVISION MINDRAY ALLENGERS TREX ACUSON TERARECON VITAL IMAGES MEVIS KICC ML PHANTOM ACME"
)
MODELS = _allow(
    # CT
    "SOMATOM DEFINITION SENSATION EMOTION SPIRIT SCOPE PERSPECTIVE FORCE DRIVE EDGE FLASH CONFIDENCE BALANCE VOLUME "
    "ZOOM PLUS ACCESS GO NOW UP ALL TOP SIM OPEN AS BIOGRAPH MCT VISION HORIZON NAEOTOM ALPHA X CITE ROAD POWER PRO "
    "LIGHTSPEED BRIGHTSPEED HISPEED HISPEEDADV VCT ULTRA XT OPTIMA REVOLUTION EVO APEX ACE MAXIMA DISCOVERY HD ST STE "
    "RX ELITE SELECT QX I CT IT NXT FX FXI DX DXI LX PROSPEED FRONTIER ASCEND FRONTIER ES EX MAX GSI PET TILT LITE "
    "BRILLIANCE INGENUITY CORE ICT IQON INCISIVE SPECTRAL SP MX MX8000 IDT GEMINI TF ACCESS BIG BORE SLICE ACQSIM "
    "AQUILION ONE PRIME LB CXL CX RXL START LIGHTNING SERVE EXCEED GENESIS PRISM ALEXION ASTEION ACTIVION XPRESS "
    "SCENARIA SUPRIA ECLOS PRATICO PRESTO SE GRANDE VIEW UCT ATLAS ASTOUND NEUVIZ GLORY DUAL NEXCT CERETOM BODYTOM "
    # radiography
    "FLUOROSPOT COMPACT FD AXIOM ARISTOS YSIO MULTIX FUSION SELECT MOBILETT XP HYBRID MIRA LUMINOS AGILE DEFINIUM "
    "AMX XR DIGITAL DIAGNOST DIGITALDIAGNOST DURADIAGNOST PROGRADE MOBILEDIAGNOST WDR BUCKY ESSENTA DR CR PCR PCRXA "
    "ELEVA COSIMA CORADO RADREX MOBILEDART MOBILE DART EVOLUTION MUX DAR RADSPEED SONIALVISION SAFIRE FCR CAPSULA XL "
    "PROFECT VELOCITY XG XC IR FDR ACSELERATE SMART DRX REVOLUTION ASCEND DIRECTVIEW CLASSIC VITA NX ADC ADCC SOLO "
    "COMPACT DX REGIUS AERO AERODR XE CS GC XGEO GM GU EVIEW INNOVISION TITAN DIAMOND SEDECAL THUNIS XFRAME PORTABLE "
    "KICC ML GAUSS",
    # CT660, GC85A, XR656, PCR2: a known prefix and a short number
    rf"(CT|GC|GM|GU|XR|DX|CR|DR|DRX|XG|IR|MX|FC|PCR|AMX|UCT|ICT|HD|DXD|XP|TSX|RS|SE)?{SHORT_CODE}|\d{{4}}|X1",
)
KERNELS = _allow(
    "STANDARD STND SOFT LUNG CHST BONE BONEPLUS PLUS DETAIL EDGE CHEST ULTRA SHARP SMOOTH PARALLEL BRAIN BODY HEAD "
    "ASIR ASIRV SS GSI IMR IDOSE KARL HD HIRES VERY MEDIUM MED STD NORMAL ENHANCED HIGH LOW THORAX ABDOMEN MEDIASTINUM "
    "NONE FILTER FBP AIDR AICE FIRST ROUTINE",
    # Siemens B31F, BR40D, I70F, BL57; Canon FC52; Philips A to E and YA; the steps of iterative ones; UIH, Neusoft
    rf"[BDHIQTU][A-Z]?\d{{2}}[A-Z]{{0,2}}|F[CL]\d{{2}}|[A-HLYU][A-D]?|[FS]\d{{2}}|{SHORT_CODE}",
)
FILTERS = _allow(
    "NONE MULTIPLE STRIP WEDGE BUTTERFLY FLAT SHAPED HEAD BODY FILTER LARGE SMALL MEDIUM CARDIAC BOWTIE LINEAR PEAK "
    "MOLYBDENUM ALUMINUM COPPER RHODIUM NIOBIUM EUROPIUM LEAD TIN MIXED",
    rf"[A-Z]|{SHORT_CODE}",
)
UNITS = _allow("HU US OD HOUNSFIELD HOUNDSFIELD UNIT UNITS MOD PCT NORMALIZED UNSPECIFIED MGML Z EFF ED HUMOD EDW")
REFERENCES = _allow("SN XY OM IC SC XP KN AC IL TB LR RF RP GE NONE")
POSITIONS = _allow("HFP HFS HFDR HFDL FFDR FFDL FFP FFS LFP LFS RFP RFS AFDR AFDL PFDR PFDL PA AP")
YES_NO = _allow("YES NO")
BODY_PARTS = _allow(
    "CHEST LUNG LUNGS THORAX TRUNK BODY WHOLEBODY HEART MEDIASTINUM CHESTABDPELVIS CHESTABDOMEN CHABDPEL NECKCHEST "
    "NECKCHESTABDPELV NECKCHESTABDOMEN ABDOMEN ABDOMENPELVIS PELVIS NECK HEAD BRAIN SPINE TSPINE LSPINE CSPINE RIB "
    "RIBS STERNUM CLAVICLE SHOULDER AORTA LIVER KIDNEY EXTREMITY CHEST_ABDOMEN CORONARY UPPER LOWER",
)
IMAGE_TYPES = _allow(
    "ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER SURVIEW SCOUT TOPOGRAM REFORMATTED AVERAGE MPR CSA PARALLEL "
    "HELIX HELICAL SPIRAL SPI SEQ TOP CT SOM VOLUME NONE MIXED RECON POST PROCESSED PROJECTION IMAGE MIN MAX MIP MINIP "
    "IP MEAN OTHER RESAMPLED SLAB THIN THICK FILTERED SCREEN SAVE DOSE INFO REF PARALLEL RANGE CURVED ADDITION "
    "SUBTRACTION MONO ENERGY DE KVP PERFUSION ANGIO STATIC DYNAMIC CINE GATED STANDARD ENHANCED LOSSY LOSSLESS JP JLS "
    "ORTHOGONAL AXIALFROMCORONAL CORONAL SAGITTAL OBLIQUE OVERVIEW PRESENTATION PROCESSING SINGLE A B EPICARDIAL",
    r"\d{1,3}|SOM\d|JP2K|[TF]\d|\d{1,2}K",
)
SCAN_OPTIONS = _allow(
    "HELICAL HELIX AXIAL SPIRAL SEQUENCE MODE CINE SCOUT SURVIEW TOPOGRAM FAST FILTER HF FF CARDIAC ECG GATED "
    "RETRO PROSP SEGMENT LOW HIGH NORMAL STANDARD DYNAMIC VOLUME WIDE SINGLE DUAL MULTI ENERGY DE SHUTTLE TILT "
    "NONE OFF ON SMARTHELICAL X FLASH BIPLANE CT NCT SAME STATIONARY LOCALIZER",
    r"\d{1,2}",
)
MATERIALS = _allow(
    "TUNGSTEN MOLYBDENUM RHODIUM COPPER ALUMINUM TIN LEAD NONE AIR TITANIUM GOLD SILVER CARBON BORON MIXED WEDGE "
    "BUTTERFLY STRIP MULTIPLE FLAT"
)

TEXTS: Mapping[str, AllowedWords] = {
    "Manufacturer": MANUFACTURERS,
    "ManufacturerModelName": MODELS,
    "ConvolutionKernel": KERNELS,
    "FilterType": FILTERS,
    "RescaleType": UNITS,
    "ModalityLUTType": UNITS,
    "StackID": _allow("", r"\d{1,4}"),
    "PositionReferenceIndicator": REFERENCES,
}
CODES: Mapping[str, AllowedWords] = {
    **dict.fromkeys(
        (
            *("BurnedInAnnotation", "RecognizableVisualFeatures", "PatientIdentityRemoved", "QualityControlImage"),
            *("CalibrationImage", "MultienergyCTAcquisition", "MultiEnergyCTAcquisition"),
        ),
        YES_NO,
    ),
    **dict.fromkeys(("ImageType", "FrameType"), IMAGE_TYPES),
    **dict.fromkeys(("FilterMaterial", "AnodeTargetMaterial"), MATERIALS),
    **dict.fromkeys(("ImageLaterality", "Laterality", "FrameLaterality"), _allow("R L B U")),
    "AcquisitionType": _allow("SEQUENCED SPIRAL CONSTANT ANGLE STATIONARY FREE"),
    "BodyPartExamined": BODY_PARTS,
    "CollimatorShape": _allow("RECTANGULAR CIRCULAR POLYGONAL"),
    "ContentQualification": _allow("PRODUCT RESEARCH SERVICE"),
    "ConversionType": _allow("DV DI DF WSD SD SI DRW SYN"),
    "DetectorActiveShape": _allow("RECTANGLE ROUND HEXAGONAL"),
    "DetectorConfiguration": _allow("AREA SLOT"),
    "DetectorType": _allow("DIRECT SCINTILLATOR STORAGE FILM"),
    "DimensionOrganizationType": _allow("3D 4D 3D TEMPORAL TILED FULL SPARSE"),
    "ExposureControlMode": _allow("MANUAL AUTOMATIC"),
    "ExposureModulationType": _allow(
        "NONE ANGULAR Z XYZ XY EC ECG BASED AEC AUTO AUTOMA SMART MA CARE DOSE D ROTATING"
    ),
    "ExposureStatus": _allow("NORMAL ABORTED"),
    "FieldOfViewHorizontalFlip": YES_NO,
    "FieldOfViewShape": _allow("RECTANGLE ROUND HEXAGONAL"),
    "Grid": _allow("FIXED FOCUSED RECIPROCATING PARALLEL CROSSED NONE IN"),
    "LongitudinalTemporalInformationModified": _allow("UNMODIFIED MODIFIED REMOVED"),
    "LossyImageCompression": _allow("00 01"),
    "LossyImageCompressionMethod": _allow("ISO", r"10918|14495|15444|13818|14496|23008|[1-9]|10"),
    "Modality": _allow("CT CR DX RG SC OT"),
    "PatientOrientation": _allow("", r"[AFHLPR]{1,3}"),
    "PatientPosition": POSITIONS,
    "PatientSex": _allow("M F O"),
    "PhotometricInterpretation": _allow("MONOCHROME1 MONOCHROME2"),
    "PixelIntensityRelationship": _allow("LIN LOG DISP"),
    "PixelPresentation": _allow("MONOCHROME COLOR MIXED TRUE"),
    "PositionerType": _allow("CARM COLUMN NONE MAMMOGRAPHIC PANORAMIC CEPHALOSTAT RIGID"),
    "PresentationIntentType": _allow("FOR PRESENTATION PROCESSING"),
    "PresentationLUTShape": _allow("IDENTITY INVERSE LIN OD"),
    "ReconstructionAlgorithm": _allow("FILTER BACK PROJ ITERATIVE"),
    "RotationDirection": _allow("CW CC CCW"),
    "ScanOptions": SCAN_OPTIONS,
    "ShutterShape": _allow("RECTANGULAR CIRCULAR POLYGONAL BITMAP"),
    "TableMotion": _allow("STATIC DYNAMIC"),
    "TypeOfDetectorMotion": _allow("NONE SCANNING TRAILING"),
    "VOILUTFunction": _allow("LINEAR EXACT SIGMOID"),
    "ViewPosition": _allow("AP PA LL RL LLD RLD LLO RLO LAO RAO LPO RPO LAT LATERAL L OBLIQUE"),
    "VolumeBasedCalculationTechnique": _allow("MAX IP MIN VOLUME RENDER SURFACE MPR CURVED NONE MIXED"),
    "VolumetricProperties": _allow("VOLUME SAMPLED DISTORTED MIXED"),
}


def is_known(keyword: str, value: str) -> bool:
    """Whether the value of an element is a known one, which does not identify a person."""
    known = TEXTS.get(keyword) or CODES.get(keyword)
    return known is not None and value in known
