"""What only HTTP can get wrong; everything else is an error of the state service itself."""

from __future__ import annotations

from lightning_state.actors.errors import LightningStateError


class HttpError(LightningStateError):
    """A request that is refused before it reaches the state service."""

    code = "bad_request"
    http_status = 400


class NoSuchRouteError(HttpError):
    """Nothing is served at this path: the routes are in /openapi.json."""

    code = "no_such_route"
    http_status = 404


class MethodNotAllowedError(HttpError):
    """This path does not take this method: the header Allow names those it takes."""

    code = "method_not_allowed"
    http_status = 405


class RequestTimeoutError(HttpError):
    """The body did not arrive in time."""

    code = "request_timeout"
    http_status = 408


class UnsupportedMediaTypeError(HttpError):
    """The body is not of a type this path takes, or it is compressed: send JSON as it is."""

    code = "unsupported_media_type"
    http_status = 415


class PreconditionRequiredError(HttpError):
    """A change needs If-Match, If-None-Match: * or ?expectedVersion=any."""

    code = "precondition_required"
    http_status = 428


class HeadersTooLargeError(HttpError):
    """The request's headers are too many or too long."""

    code = "headers_too_large"
    http_status = 431


class PortInUseError(LightningStateError):
    """Another process listens on the port that HTTP was to be served on. Details: host, port."""

    code = "port_in_use"
    http_status = 500


class HttpUnavailableError(LightningStateError):
    """The HTTP side of the service did not become ready, or another Serve application is in its place."""

    code = "http_unavailable"
    http_status = 503
