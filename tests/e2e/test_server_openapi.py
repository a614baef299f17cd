"""The server's OpenAPI document against the server itself, by schemathesis."""

import tempfile
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from support.cards import card_settings
from talkhead.serve.server import application, document, prepared
from talkhead.settings import Settings
from talkhead.settings.groups import Server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:schemathesis.*")
EXAMPLES = 6  # of each operation


def _app() -> object:
    """Return a server whose dispatcher does not work, so that calls end at once."""
    folder = Path(tempfile.mkdtemp(prefix="talkhead-openapi-"))
    server = Server(folder=folder / "server", waiting=10**6, rate=0)
    return application(prepared(Settings(**card_settings(folder), server=server)))


schema = schemathesis.openapi.from_dict(document.openapi())
schema.config.update(base_url="http://127.0.0.1:8000")
schema.config.phases.coverage.enabled = False  # a minute of it found what fuzzing finds in seconds
APP = _app()


@schema.exclude(path_regex="^/(stream|runsync)").parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_call_meets_a_server_error(case: schemathesis.Case) -> None:
    answer = case.call(app=APP)
    case.validate_response(answer, checks=[not_a_server_error, response_schema_conformance])


def test_document_and_routes_agree() -> None:
    from fastapi import FastAPI

    from talkhead.serve.server.routes import router

    held = {(path, method) for path, item in document.openapi()["paths"].items() for method in item}
    app: FastAPI = APP._app  # type: ignore[attr-defined]
    assert router
    made = {
        (route.path.replace(":path", ""), method.lower())
        for route in _routes(app.router.routes)
        for method in route.methods
        if route.include_in_schema
    }
    assert made == held


def _routes(routes):
    for route in routes:
        if hasattr(route, "original_router"):
            yield from _routes(route.original_router.routes)
        else:
            yield route
