"""Every error this package raises on purpose.

ChatSessionError
├── BackendError (backends.base) an answer failed, with a text the visitor may read
├── SessionError
│   ├── ValueNotSerializable    a session value the serializer cannot encode
│   ├── SessionTooLarge         a session over MAX_SESSION_BYTES
│   ├── ResponseStarted         a first write after the response's headers have left
│   └── StoreAway               the store of the sessions cannot be reached
└── ChatError                   carries the HTTP status and code of the API's error shape
    ├── InvalidRequest          400
    ├── PermissionDenied        403
    ├── NotFound                404
    ├── RunActive               409, with the running run's id
    ├── NothingToAnswer         409
    ├── TooLarge                413
    ├── TooManyRequests         429, with Retry-After
    └── Unavailable             503, with Retry-After
"""

from __future__ import annotations

from django.db import OperationalError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class ChatSessionError(Exception):
    """Base of all errors raised by this package."""


class SessionError(ChatSessionError):
    """A session could not be written as asked."""


class ValueNotSerializable(SessionError, TypeError):
    """The value of one key cannot be encoded by ``SESSION_SERIALIZER``."""

    def __init__(self, key: str) -> None:
        super().__init__(f"The session value of {key!r} cannot be serialized by SESSION_SERIALIZER.")
        self.key = key


class SessionTooLarge(SessionError, ValueError):
    """The encoded session is larger than ``CHATSESSION["MAX_SESSION_BYTES"]``."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"The session would take {size} bytes; MAX_SESSION_BYTES is {limit}.")
        self.size = size
        self.limit = limit


class ResponseStarted(SessionError, RuntimeError):
    """The cookie of a new session key cannot be sent any more: the headers have left."""

    def __init__(self) -> None:
        super().__init__(
            "The response has started: a session without a record cannot be created, and a key "
            "cannot be changed. Write to the session before returning the streaming response."
        )


class StoreAway(SessionError, OperationalError):
    """The store of the sessions cannot be reached, or does not take what is written.

    Whoever is ready for a database that is away is ready for this.
    """


class ChatError(ChatSessionError):
    """A refusal that the API answers in its one error shape."""

    status = 500
    code = "error"
    type = "invalid_request_error"
    message: str | Promise = _("Something went wrong.")

    def __init__(
        self,
        message: str | Promise | None = None,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
        run_id: str | None = None,
    ) -> None:
        self.message = self.message if message is None else message
        self.code = code or self.code
        self.param = param
        self.retry_after = retry_after
        self.run_id = run_id
        super().__init__(self.code)


class InvalidRequest(ChatError):
    """The request cannot be understood."""

    status = 400
    code = "invalid_request"
    message = _("The request is not valid.")


class PermissionDenied(ChatError):
    """The visitor may not use this API."""

    status = 403
    code = "permission_denied"
    type = "permission_error"
    message = _("You do not have permission to do this.")


class NotFound(ChatError):
    """Unknown, or another owner's: the two answer alike."""

    status = 404
    code = "not_found"
    message = _("There is nothing here under this ID.")


class RunActive(ChatError):
    """An answer is being written in this conversation already."""

    status = 409
    code = "run_active"
    type = "conflict_error"
    message = _("An answer is being written in this conversation already.")


class NothingToAnswer(ChatError):
    """A regeneration was asked for in a conversation without a question."""

    status = 409
    code = "nothing_to_answer"
    type = "conflict_error"
    message = _("There is no message to answer yet.")


class TooLarge(ChatError):
    """The message or the request body is over its limit."""

    status = 413
    code = "too_large"
    message = _("The message is too long.")


class TooManyRequests(ChatError):
    """A limit is reached; ``retry_after`` says in how many seconds to try again."""

    status = 429
    code = "rate_limited"
    type = "rate_limit_error"
    message = _("Too many requests. Please try again in a moment.")


class Unavailable(ChatError):
    """A service this site needs is away."""

    status = 503
    code = "unavailable"
    type = "server_error"
    message = _("The service is not available right now. Please try again in a moment.")
