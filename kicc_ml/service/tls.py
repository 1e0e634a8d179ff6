"""Certificates and keys of the DICOM port, and of the way to the PACS."""

import ssl
from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.service.private_files import refuse_open_file
from kicc_ml.service.settings import DicomSettings


def make_server_tls(settings: DicomSettings) -> ssl.SSLContext | None:
    """Make what the DICOM port shows its senders, and asks of them.

    Args:
        settings: those of the port.

    Returns:
        None where no certificate is named: the port has no TLS then.

    Raises:
        UserError: a file cannot be used, or others can read the key.
    """
    if settings.tls_certificate is None:
        return None
    context = _make_context(ssl.Purpose.CLIENT_AUTH, settings)
    if settings.tls_authorities:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def make_client_tls(settings: DicomSettings) -> ssl.SSLContext:
    """Make what a PACS is shown, and asked for.

    Args:
        settings: those of the DICOM port.

    Returns:
        the context.

    Raises:
        UserError: a file cannot be used, or others can read the key.
    """
    return _make_context(ssl.Purpose.SERVER_AUTH, settings)


def _make_context(purpose: ssl.Purpose, settings: DicomSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(purpose, cafile=settings.tls_authorities)
    except OSError as error:
        raise _refuse("dicom.tls_authorities", settings.tls_authorities, error) from error
    if settings.tls_certificate is None or settings.tls_key is None:
        return context
    refuse_open_file(settings.tls_key)
    for key, path in (("dicom.tls_certificate", settings.tls_certificate), ("dicom.tls_key", settings.tls_key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise _refuse(key, path, error) from error
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password=_refuse_passphrase)
    except OSError as error:
        raise _refuse("dicom.tls_certificate and dicom.tls_key", settings.tls_certificate, error) from error
    return context


def _refuse(key: str, path: Path | None, error: OSError) -> UserError:
    if isinstance(error, ssl.SSLError):
        return UserError(f"{key}: {path} is no PEM file, or not of this pair ({error.reason}); name PEM files that fit")
    return UserError(f"{key}: {path} cannot be read ({error.strerror or error})")


def _refuse_passphrase() -> str:
    """Nobody could type it each time the node starts."""
    raise UserError("dicom.tls_key: the key has a passphrase; take it off (openssl pkey), and chmod 600 the new file")
