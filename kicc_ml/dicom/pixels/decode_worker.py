"""A process that decodes compressed frames for another process, so that a broken frame can end this process only.

Requests come on standard input: a line of JSON with ``length`` and the fields of
:class:`~kicc_ml.dicom.pixels.codestream.Codestream`, then the codestream. Replies go to standard output:
:data:`REPLY`, then values or a message.
"""

import json
import os
import resource
import signal
import struct
import sys
import tempfile
from typing import IO

import numpy as np

from kicc_ml.dicom.pixels.codestream import Codestream
from kicc_ml.dicom.pixels.decoders import decode

#: Head of a reply: success, numpy's code of the value type such as ``u2``, and the number of bytes that follow.
REPLY = struct.Struct("<?2sQ")
#: Maximum time for one frame: the largest radiographs take two seconds, and a malicious file must not delay a run.
MAX_SECONDS = 8
#: Maximum address space: enough for the largest accepted picture (256 million pixels of 16 bits) and the decoder.
MAX_MEMORY_BYTES = 4 * 2**30
#: Messages of libjpeg on standard error after which it continues with invented values.
SIGNS_OF_DAMAGE = (b"Corrupt JPEG data", b"Premature end")


def main() -> None:
    """Decode what arrives on standard input, within limits of time and memory, and reply on standard output."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
    for standard in (1, 2):  # what libraries print must not get between the replies
        os.dup2(complaints.fileno(), standard)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even inside a decoder
    while line := requests.readline():
        fields = json.loads(line)
        stream = requests.read(fields.pop("length"))
        signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
        _reply(replies, stream, Codestream(**fields), complaints)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _reply(replies: IO[bytes], stream: bytes, coded: Codestream, complaints: IO[bytes]) -> None:
    try:
        values = np.ascontiguousarray(decode(stream, coded))
        if complaint := _read_complaint(complaints):
            raise ValueError(complaint)
    except Exception as error:  # decoders raise anything on a damaged codestream
        message = f"{type(error).__name__}: {error}".encode()[-500:]
        replies.write(REPLY.pack(False, b"", len(message)) + message)
    else:
        replies.write(REPLY.pack(True, values.dtype.str[1:].encode(), values.nbytes))
        replies.write(values.data)
    replies.flush()


def _read_complaint(complaints: IO[bytes]) -> str:
    """Read what libraries printed since the last call, and return the sign of damage in it, or ""."""
    complaints.seek(0)
    printed = complaints.read(2**16)
    complaints.seek(0)
    complaints.truncate()
    return next((sign.decode() for sign in SIGNS_OF_DAMAGE if sign in printed), "")


if __name__ == "__main__":
    main()
