"""Codes of the reasons why a file or series was refused, repaired or noted, with an explanation for data managers."""

#: Reasons for which a directory entry is not opened, so that there is no header.
NOT_OPENED = {
    *("link_outside", "linked_twice", "broken_link", "special_file", "closed_folder", "archive"),
    *("damaged_zip", "damaged_in_zip", "encrypted_zip", "other_packing", "unfolding_zip", "nested_zip"),
}

#: Reasons for which the picture may show a name, so that it is not shown in what may be handed on. By PS3.3 C.7.6.1 an
#: image without Burned In Annotation may hold text. In secondary captures it often does, in images of detectors rarely.
MAY_SHOW_TEXT = ("burned_in", "text_unstated")

REASONS: dict[str, str] = {
    # an entry of a folder that is not opened
    "link_outside": "a link that leads out of the source; it is not followed",
    "linked_twice": "a link to a file or folder of the source, which is indexed where it lies and not here",
    "broken_link": "a link that leads nowhere or to itself",
    "special_file": "neither a file nor a folder (socket, pipe or device)",
    "closed_folder": "a folder that this account may not open",
    # an archive, or what is in one
    "damaged_zip": "not a sound zip file",
    "damaged_in_zip": "damaged in the zip file: its bytes are not those that were packed",
    "encrypted_zip": "the zip file is encrypted",
    "other_packing": "the zip file is packed by a method that is not read here (Deflate64 of Windows, for example)",
    "unfolding_zip": "the zip file unfolds to more than 100 times its size, as no images do",
    "nested_zip": "zip files lie in each other more than three deep",
    "archive": "an archive that is not opened here (tar, 7z, rar, or a zip file of another name)",
    "office_file": "a spreadsheet or document, no images",
    # a file that is no image
    "not_dicom": "the file is not DICOM",
    "unreadable": "the file cannot be read or decoded",
    "not_an_image": "the DICOM object holds no image (report, plan, directory)",
    "truncated": "the file ends before its pixel data does",
    "encoded_otherwise": "the file cannot be read: it is not encoded as its Transfer Syntax UID says",
    "wrong_syntax": "the pixel data is not encoded as the Transfer Syntax UID says (compressed or not)",
    "undecodable": "the pixel data cannot be decoded",
    "codestream_mismatch": "the compressed picture has another coding, size, bit depth or sign than the header says",
    "picture_format": "the file holds another format than PNG or JPEG in grey or 8-bit colours",
    "not_served": "the DICOMweb service lists the series but does not hand it out",
    "too_large": "the file states more pixels, or nests deeper, than any image of a chest",
    # an image that does not belong to its series
    "localizer": "localizer (scout) image",
    "secondary_capture": "secondary capture: a screenshot, not a slice",
    "dose_page": "colour picture: a dose page or a screenshot",
    "duplicate_slice": "the same slice is there twice; one was kept",
    # what cannot be used
    "wrong_modality": "Modality is neither CT nor radiograph, or contradicts the SOP class",
    "multi_frame": "several frames in one file without the place of each, or one volume over several such files",
    "no_position": "image position, orientation or pixel spacing is missing",
    "overlapping_slices": "different images at one position (several acquisitions or phases in one series)",
    "shifted_slices": "slices are shifted sideways against each other",
    "gantry_tilt": "the gantry was tilted: the stack is sheared",
    "missing_slice": "a slice is missing",
    "uneven_spacing": "slices are not evenly spaced",
    "single_slice": "a single slice is no volume",
    "too_few_slices": "too few slices to judge their spacing",
    "not_hu": "CT whose rescaled values are stated to be something else than Hounsfield units",
    "no_rescale": "CT without rescale slope and intercept: its values are not Hounsfield units",
    "contradicting_copies": "two files are one radiograph by UID, but say different things of its picture",
    "contradicting_display": "Photometric Interpretation and Presentation LUT Shape contradict each other: the "
    "radiograph may be a negative",
    "lateral_view": "not a frontal radiograph (lateral, oblique or decubitus)",
    "for_processing": "radiograph for processing, not for presentation",
    "voxel_size": "the voxel size that the file states is that of no CT (0.05 to 50 mm)",
    "not_3d": "the file does not hold one three-dimensional volume",
    # slices that were one series
    "uid_per_slice": "each file has a SeriesInstanceUID of its own, as careless anonymisers write it; put together by "
    "what else they say",
    # several stacks in one series: each is a series of its own here
    "split_orientation": "slices of different orientation in one series, told apart",
    "split_matrix": "slices of different size or pixel spacing in one series, told apart",
    "split_kernel": "several reconstruction kernels in one series, told apart",
    "split_acquisition": "several acquisitions or phases in one series, told apart",
    # said of a series that can be used
    "oblique": "slices are oblique",
    "burned_in": "text is burned into the picture, as the file itself says",
    "text_unstated": "a secondary capture, which often shows the patient's name, and its file does not state "
    "whether text is burned into the picture",
    "lossy_compression": "the picture was compressed with loss",
    "coronal": "slices are coronal",
    "sagittal": "slices are sagittal",
}
