"""The first two requests to a server: is it MLflow's, and does it let this user in?"""

from __future__ import annotations

from evalrun.core.errors import TrackingError
from evalrun.tracking.failures import explain, login_refused

_PROBE_S = 5.0
_QUESTIONS = {"/health": {}, "/api/2.0/mlflow/experiments/get": {"experiment_id": "0"}}  # the first is open to anybody


def greet(uri: str, place: str, patience_s: float) -> None:
    """Ask a server without the retries of MLflow's client, which wait for minutes.

    Args:
        uri: Its address.
        place: The same for messages.
        patience_s: How long to wait for an answer.

    Raises:
        TrackingError: it is no MLflow server, or takes neither this user nor its own name.
        OSError, mlflow.exceptions.MlflowException: nobody answers there.
    """
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    creds, timeout = get_default_host_creds(uri.rstrip("/")), min(patience_s, _PROBE_S)
    for path, params in _QUESTIONS.items():
        reply = http_request(creds, path, "GET", params=params, timeout=timeout, max_retries=0, raise_on_status=False)
        if reply.status_code == 401:
            raise TrackingError(login_refused(place))
        if reply.status_code == 403 and "Invalid Host header" in reply.text:
            raise TrackingError(explain(PermissionError(reply.text), "", place, uri))
        if path == "/health" and reply.status_code != 200:
            raise TrackingError(
                f"{place} answers, but not like an MLflow server (status {reply.status_code} for {path}); check "
                "tracking.uri."
            )
    # An experiment, or that there is none; with 403, that it is not for this user.
    if reply.status_code != 403 and not reply.text.lstrip().startswith("{"):
        what = "a web page" if reply.text.lstrip().startswith("<") else "something else than JSON"
        raise TrackingError(
            f"{place} answers, but not like an MLflow server: with {what} (status {reply.status_code}) where an "
            "experiment was asked for; check tracking.uri."
        )
