"""What the sender of the data can do about each reason of :mod:`kicc_ml.dicom.series.reasons`."""

#: Reasons without an entry need nothing done: what they name was left out or mended, or is only said.
REMEDIES: dict[str, str] = {
    "not_dicom": "leave the file out of the export",
    "unreadable": "export the file again; it may be damaged, or closed to this account",
    "truncated": "export the file again; the copy was cut short",
    "undecodable": "export the file again, uncompressed if the archive can (Explicit VR Little Endian)",
    "codestream_mismatch": "export the file again, uncompressed if the archive can (Explicit VR Little Endian)",
    "picture_format": "save the picture as PNG or JPEG",
    "not_served": "see that the account may retrieve the series, and that it is online",
    "too_large": "leave the file out; it is no chest image, or damaged",
    "wrong_modality": "leave the series out, or correct its Modality (0008,0060)",
    "multi_frame": "export as single-frame CT images",
    "no_position": "export from the archive rather than from a viewer, which drops position and spacing",
    "overlapping_slices": "export each acquisition or phase as a series of its own",
    "shifted_slices": "export the original axial series",
    "gantry_tilt": "take it with --tilt shear, or send a series without tilt",
    "missing_slice": "export the whole series again, or take it with --gaps resample",
    "uneven_spacing": "export the original reconstruction, or take it with --gaps resample",
    "single_slice": "export the whole series",
    "too_few_slices": "export the whole series",
    "not_hu": "export the original reconstruction in Hounsfield units",
    "no_rescale": "export from the archive with Rescale Slope and Intercept (0028,1053 and 0028,1052)",
    "for_processing": "export the image for presentation",
    "burned_in": "look at the picture before it leaves the hospital: it may show a name",
    "lossy_compression": "send the original where the archive still has it",
}
