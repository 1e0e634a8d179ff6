"""Names that must not become the name of a folder, and names that may."""

from kicc_ml.core.path_names import MAX_BYTES

HOSTILE = [
    "",
    " ",
    ".",
    "..",
    ".hidden",
    "a/b",
    "a\\b",
    "../a",
    "/etc",
    "a\0b",
    "a\nb",
    "\x1b[31m",
    "a\u202eb",
    "\udcb0",
    "a" * 161,
]
PLAIN = [
    "a",
    "daegu-1_0a1b2c3d",
    "환자 7",
    "case 1 (2)",
    "1.2.840.113619",
    "a'b",
    "a" * MAX_BYTES,
    "<b>",
    "$x$",
    "한" * 53,
]
