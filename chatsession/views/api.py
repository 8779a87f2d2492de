"""What every endpoint shares: methods, permission, language, CSRF, the one error shape."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, NoReturn

from django.conf import settings
from django.core.exceptions import (
    ImproperlyConfigured,
    ObjectDoesNotExist,
    RequestDataTooBig,
    ValidationError,
)
from django.db import InterfaceError, OperationalError, connections, transaction
from django.http import HttpResponse, JsonResponse, RawPostDataException, UnreadablePostError
from django.utils import translation
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_protect

from chatsession.conf import conf
from chatsession.conversations import history
from chatsession.exceptions import (
    ChatError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    TooLarge,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from django import forms
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    View = Callable[..., HttpResponseBase]

logger = logging.getLogger("chatsession.api")
#: Seconds after which a client may ask a site again whose database was away.
RETRY_AFTER = 5


def endpoint(permission: str, **methods: View) -> View:
    """One URL of the API: a view per HTTP method, behind ``PERMISSIONS[permission]``."""

    @csrf_protect
    def dispatch(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        check_session(request)
        request.chatsession_id = history.new_id()  # type: ignore[attr-defined]
        with translation.override(language_of(request)):
            response = _answered(request, permission, methods, kwargs)
        if not response.streaming:
            patch_cache_control(response, private=True, no_store=True)
        return response

    return non_atomic(dispatch)


def _answered(
    request: HttpRequest, permission: str, methods: dict[str, View], kwargs: dict[str, Any]
) -> HttpResponseBase:
    try:
        check_permission(request, permission)
        return _method(request, methods)(request, **kwargs)
    except ChatError as error:
        return error_response(request, error)
    except ObjectDoesNotExist:
        # Deleted by another tab while this request was under way.
        return error_response(request, NotFound())
    except (OperationalError, InterfaceError):
        logger.exception("The database is away (request %s)", request_id(request))
        return error_response(request, Unavailable(retry_after=RETRY_AFTER))


def _method(request: HttpRequest, methods: dict[str, View]) -> View:
    view = methods.get("GET" if request.method == "HEAD" else request.method or "")
    if view is None:
        raise MethodNotAllowed(methods)
    return view


class MethodNotAllowed(ChatError):
    """Another HTTP method than this URL's."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, methods: dict[str, View]) -> None:
        super().__init__(_("This address does not answer to that method."))
        self.allow = ", ".join(methods)


def non_atomic(view: View) -> View:
    """Outside ``ATOMIC_REQUESTS`` on every alias: a turn is committed before its stream begins."""
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view


def check_session(request: HttpRequest) -> None:
    """Raises ``ImproperlyConfigured`` where no middleware gives requests a session."""
    if not hasattr(request, "session"):
        raise ImproperlyConfigured(
            "The chat needs a session middleware: put "
            "'chatsession.middleware.SessionMiddleware' into MIDDLEWARE."
        )


def language_of(request: HttpRequest) -> str:
    """The site's choice where a LocaleMiddleware made one, else the visitor's ``Accept-Language``."""
    if hasattr(request, "LANGUAGE_CODE"):
        return translation.get_language() or settings.LANGUAGE_CODE
    return translation.get_language_from_request(request)


def request_id(request: HttpRequest) -> str:
    """The ID under which the log has this request."""
    return getattr(request, "chatsession_id", "")


def check_permission(request: HttpRequest, name: str) -> None:
    """Raises ``PermissionDenied`` unless the visitor has ``PERMISSIONS[name]``."""
    if not has_permission(request, conf.PERMISSIONS[name]):
        raise PermissionDenied


def has_permission(request: HttpRequest, wanted: str) -> bool:
    """Whether the visitor is ``wanted``: "anyone", "authenticated", "staff" or a Django permission."""
    user: Any = getattr(request, "user", None)
    match wanted:
        case "anyone":
            return True
        case "authenticated":
            return user is not None and user.is_authenticated
        case "staff":
            return user is not None and user.is_active and user.is_staff
    return user is not None and user.has_perm(wanted)


def error_response(request: HttpRequest, error: ChatError) -> JsonResponse:
    """The one error shape, OpenAI's with the request's ID and a running run's."""
    body: dict[str, Any] = {
        "message": str(error.message),
        "type": error.type,
        "code": error.code,
        "param": error.param,
        "requestId": request_id(request),
    }
    if error.run_id:
        body["runId"] = error.run_id
    response = JsonResponse({"error": body}, status=error.status)
    if error.retry_after is not None:
        response["Retry-After"] = str(error.retry_after)
    if isinstance(error, MethodNotAllowed):
        response["Allow"] = error.allow
    return response


def answer(data: dict[str, Any], status: int = 200) -> HttpResponse:
    """A JSON body."""
    return JsonResponse(data, status=status, json_dumps_params={"ensure_ascii": False})


def read_json(request: HttpRequest) -> dict[str, Any]:
    """The request's body, a JSON object; an empty body is an empty one.

    Raises ``TooLarge`` over ``DATA_UPLOAD_MAX_MEMORY_SIZE``, else ``InvalidRequest``.
    """
    try:
        data = json.loads(request.body or b"{}")
    except RequestDataTooBig:
        raise TooLarge(_("The request is too large.")) from None
    except (ValueError, RecursionError, UnreadablePostError, RawPostDataException):
        data = None
    if not isinstance(data, dict):
        raise InvalidRequest(_("The request's body must be a JSON object."), code="invalid_json")
    return data


def require(form: forms.Form, params: dict[str, str] | None = None) -> dict[str, Any]:
    """The cleaned data of a form; its first error as ``InvalidRequest`` or ``TooLarge``.

    ``params`` maps field names to the names the request has for them.
    """
    if form.is_valid():
        return form.cleaned_data
    field, errors = next(iter(form.errors.as_data().items()))
    refuse((params or {}).get(field, field), errors[0])


def refuse(param: str, error: ValidationError) -> NoReturn:
    """A form's error in the API's terms."""
    kind = TooLarge if error.code == "max_length" else InvalidRequest
    raise kind(" ".join(error.messages), param=param)
