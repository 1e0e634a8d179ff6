"""A token goes to the host that it was given for, and only over an encrypted connection."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.web import transport
from kicc_ml.dicom.web.client import connect, search_series_uids
from kicc_ml.dicom.web.service import index_web, push
from tests.support.local_service import Service, say
from tests.support.phantom_files import write_image

TOKEN = "Bearer of-the-tests"


class TestCredentials:
    @pytest.fixture
    def token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(transport.AUTHORIZATION, TOKEN)

    @pytest.fixture
    def service(self, serve: Callable[..., Service]) -> Service:
        return serve(lambda handler: say(handler, b"[]"))

    @pytest.mark.usefixtures("token")
    def test_a_header_that_is_not_said_to_be_for_a_host_goes_to_none(self, service: Service):
        with pytest.raises(UserError, match=r"KICC_DICOMWEB_HOST=127\.0\.0\.1"):
            connect(service.url)
        assert service.paths == []

    @pytest.mark.usefixtures("token")
    @pytest.mark.parametrize("host", ["127.0.0.1", "pacs.example, 127.0.0.1", "127.0.0.1:{port}"])
    def test_the_host_it_was_given_for_gets_it(self, service: Service, monkeypatch: pytest.MonkeyPatch, host: str):
        monkeypatch.setenv(transport.AUTHORIZED_HOST, host.format(port=service.server.server_port))
        search_series_uids(connect(service.url))
        assert set(service.authorizations) == {TOKEN}

    @pytest.mark.usefixtures("token")
    def test_it_goes_before_a_password_of_netrc(
        self, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login reader password hunter2\n")
        (tmp_path / "netrc").chmod(0o600)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        monkeypatch.setenv(transport.AUTHORIZED_HOST, "127.0.0.1")
        search_series_uids(connect(service.url))
        assert set(service.authorizations) == {TOKEN}

    @pytest.mark.usefixtures("token")
    @pytest.mark.parametrize("host", ["pacs.example", "127.0.0.1:1", "127.0.0", "localhost"])
    def test_no_other_host_gets_it(self, service: Service, monkeypatch: pytest.MonkeyPatch, host: str):
        monkeypatch.setenv(transport.AUTHORIZED_HOST, host)
        search_series_uids(connect(service.url))
        assert set(service.authorizations) == {None}

    @pytest.mark.usefixtures("token")
    def test_a_redirect_takes_it_to_no_other_host(
        self, service: Service, serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv(transport.AUTHORIZED_HOST, "127.0.0.1")
        target = service.url.replace("127.0.0.1", "localhost") + "/studies"
        first = serve(lambda handler: say(handler, b"", 302, Location=target))
        monkeypatch.setenv(transport.PLAIN_HOSTS, "127.0.0.1,localhost")
        search_series_uids(connect(first.url))
        assert (set(first.authorizations), set(service.authorizations)) == ({TOKEN}, {None})


class TestEncryption:
    @pytest.fixture(autouse=True)
    def nothing_allowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(transport.PLAIN_HOSTS)

    @pytest.fixture
    def service(self, serve: Callable[..., Service]) -> Service:
        return serve(lambda handler: say(handler, b"[]"))

    def test_a_token_does_not_go_over_http(self, service: Service, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv(transport.AUTHORIZATION, TOKEN)
        monkeypatch.setenv(transport.AUTHORIZED_HOST, "127.0.0.1")
        with pytest.raises(
            UserError, match=r"unencrypted; use https, or set KICC_DICOMWEB_HTTP=127\.0\.0\.1"
        ) as caught:
            index_web(service.url)
        assert TOKEN not in str(caught.value)
        assert service.paths == []

    def test_a_password_of_netrc_does_not_go_over_http(
        self, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login reader password hunter2\n")
        (tmp_path / "netrc").chmod(0o600)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        with pytest.raises(UserError, match="use https"):
            index_web(service.url)
        assert service.paths == []

    def test_no_object_is_pushed_over_http(self, tmp_path: Path):
        path = write_image(tmp_path / "one.dcm", np.zeros((4, 4), np.uint16))
        with pytest.raises(UserError, match=r"http://pacs\.example: .*use https"):
            push("http://pacs.example/dicom-web", [path])

    def test_a_redirect_to_http_is_not_followed(self):
        session = transport.open_session("https://pacs.example")
        request = requests.Request("GET", "http://pacs.example/studies").prepare()
        with pytest.raises(UserError, match="use https"):
            session.send(request)

    def test_what_stays_on_this_machine_and_holds_no_credentials_may_be_asked(self, service: Service):
        assert search_series_uids(connect(service.url)) == []
