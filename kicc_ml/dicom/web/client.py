"""Requests to a DICOMweb service (PS3.18), with errors in plain words."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.web.cache import InstanceUids
from kicc_ml.dicom.web.transport import (
    AUTHORIZATION,
    AUTHORIZED_HOST,
    MAX_OBJECT_BYTES,
    BeyondLimitError,
    open_session,
    read_stated_pause_s,
)

# These libraries log requests, requests hold UIDs, and a log is an output.
for _name in ("dicomweb_client", "urllib3", "retrying"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

#: Seconds to connect, and without a byte: metadata of a long series is read from as many files before it comes.
TIMEOUT_S = (10, 60)
#: Maximum number of pages of one search; services return about a hundred entries per page.
MAX_PAGES = 1000
REMEDIES = {
    401: "name and password are missing or wrong; put them into ~/.netrc, or the header "
    f"into ${AUTHORIZATION} and its host into ${AUTHORIZED_HOST}",
    403: "this account may not do that; ask the archive's administrator for the right to query and retrieve",
    404: "it knows no such thing; check the address (for example https://pacs/dicom-web), or index again",
}
STUDY, SERIES, SOP_CLASS, SOP = "0020000D", "0020000E", "00080016", "00080018"


class NotServed(UserError):
    """The service answers but does not return the requested object."""


def check_address(url: str) -> str:
    """Check the URL of a service and return it in the form that may be stored and shown.

    Raises:
        UserError: it is not an http address, or holds a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError("the address of a DICOMweb service begins with https:// and a host name")
    if parts.username or parts.password:
        raise UserError(
            f"{parts.scheme}://{parts.hostname}: a password in an address is seen by others; "
            f"put it into ~/.netrc, or the header into ${AUTHORIZATION}"
        )
    return url.rstrip("/")


def connect(url: str) -> DICOMwebClient:
    """Connect to a service, with the limits of :mod:`kicc_ml.dicom.web.transport` and checked certificates."""
    # whole objects are sent in one piece, since a generator of pieces could not be sent again
    client = DICOMwebClient(
        url, session=open_session(url), timeout=TIMEOUT_S, permissive_uid=True, chunk_size=MAX_OBJECT_BYTES
    )
    client.set_http_retry_params(False)
    return client


def search_series_uids(client: DICOMwebClient) -> list[tuple[str, str]]:
    """Search the (study, series) UIDs of all series that the service shows to this user."""
    studies = _search_all_pages(client, client.search_for_studies, STUDY)
    return [
        (study, series)
        for study in studies
        for series in _search_all_pages(client, partial(client.search_for_series, study), SERIES)
    ]


def _search_all_pages(client: DICOMwebClient, search: Callable[..., list[dict[str, Any]]], tag: str) -> list[str]:
    """Collect the values of ``tag`` over all pages. A service that ignores the offset is asked only twice."""
    found: dict[str, None] = {}
    for _ in range(MAX_PAGES):
        with convert_errors(client):
            page = dict.fromkeys(item[tag]["Value"][0] for item in search(offset=len(found)))
        if page.keys() <= found.keys():
            return list(found)
        found |= page
    raise UserError(
        f"{client.base_url}: a search gives more than {MAX_PAGES} pages; use an account, or an address, that shows "
        "the patients of the study alone"
    )


def retrieve_series_metadata(client: DICOMwebClient, study: str, series: str) -> dict[str, dict[str, Any]]:
    """Retrieve the DICOM JSON of each instance of a series, by its UID.

    Orthanc can be configured to return only main tags for a whole series; then each instance is requested.

    Raises:
        NotServed: the service does not return it.
    """
    with convert_errors(client):
        found = {item[SOP]["Value"][0]: item for item in client.retrieve_series_metadata(study, series)}
        for sop in [sop for sop, item in found.items() if SOP_CLASS not in item]:
            found[sop] = client.retrieve_instance_metadata(study, series, sop)
    return found


def retrieve_object(client: DICOMwebClient, uids: InstanceUids) -> Dataset:
    """Retrieve one object in the transfer syntax in which it is stored.

    Raises:
        NotServed: the service does not return it.
    """
    with convert_errors(client):
        # without "*" Orthanc, as PS3.18 has it, transcodes to Explicit VR Little Endian
        found = client.retrieve_instance(uids.study, uids.series, uids.sop, media_types=(("application/dicom", "*"),))
    if found.get("SOPInstanceUID") != uids.sop:
        raise NotServed(f"{client.base_url}: it hands out another object than it was asked for")
    return found


def store_object(client: DICOMwebClient, made: Dataset) -> None:
    """Store one object in the service by STOW-RS.

    Raises:
        UserError: the service does not accept it.
    """
    with convert_errors(client):
        answer = client.store_instances([made])
    if answer.get("FailedSOPSequence"):
        raise UserError(f"{client.base_url} did not take a {made.Modality} object; may it store, and has it room?")


@contextmanager
def convert_errors(client: DICOMwebClient) -> Iterator[None]:
    """Convert network errors to UserError. Their cause is dropped, because it quotes the URL with UIDs."""
    try:
        yield
    except BeyondLimitError as error:
        raise NotServed(f"{client.base_url} gives {error}; ask the archive's administrator, then start again") from None
    except requests.HTTPError as error:
        raise _make_refusal(client, cast(requests.Response, error.response)) from None
    except requests.exceptions.SSLError:
        raise UserError(
            f"{client.base_url}: its certificate is not trusted; name the hospital's own in $REQUESTS_CA_BUNDLE"
        ) from None
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
        raise UserError(
            f"{client.base_url} does not answer; check address and network, then start again: what was fetched is kept"
        ) from None
    except (requests.RequestException, InvalidDicomError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise NotServed(f"{client.base_url}: what it answers is not DICOMweb; check the address") from None


def _make_refusal(client: DICOMwebClient, response: requests.Response) -> UserError:
    """Make the error for a status of 400 or more. Denied access ends the index; other faults concern one series."""
    kind = UserError if response.status_code in (401, 403) else NotServed
    pause_s = read_stated_pause_s(response)
    when = "later" if pause_s is None else f"in {pause_s:.0f} s, as it asks"
    remedy = REMEDIES.get(response.status_code, f"start again {when}; what was fetched is kept")
    return kind(f"{client.base_url} answers {response.status_code} ({response.reason}): {remedy}")
