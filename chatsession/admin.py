"""The sessions of the configured store in the site's own admin; deleting one revokes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from chatsession.devices import device_of
from chatsession.models import ActiveSession
from chatsession.stores.base import BaseStore, SessionInfo
from chatsession.stores.configured import configured_store

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    Sessions: TypeAlias = QuerySet[ActiveSession]
    Admin: TypeAlias = admin.ModelAdmin[ActiveSession]
else:
    Sessions, Admin = QuerySet, admin.ModelAdmin

FIELDS = [field.name for field in ActiveSession._meta.fields]
HANDLE_CHARS = 8


class StoredSessions(Sessions):
    """The store's sessions in the shape of a queryset, as far as the admin makes use of one."""

    ordered = True

    def __init__(
        self,
        store: type[BaseStore],
        decorate: Callable[[list[ActiveSession]], None],
        *,
        handles: Collection[str] | None = None,
        **wanted: str,
    ) -> None:
        """Those of ``handles``, else those the store finds by ``search`` or ``user_id``.

        ``decorate`` completes the rows of a page.
        """
        super().__init__(ActiveSession)
        self.store = store
        self.decorate = decorate
        self.handles = handles
        self.wanted = wanted

    @cached_property
    def rows(self) -> list[ActiveSession]:
        """All of them."""
        if self.handles is None:
            return list(self[: self.count()])
        found = (self.store.info(handle) for handle in self.handles)
        return self._rows(info for info in found if info)

    def _rows(self, infos: Iterable[SessionInfo]) -> list[ActiveSession]:
        rows = [ActiveSession(**{name: getattr(info, name) for name in FIELDS}) for info in infos]
        self.decorate(rows)
        return rows

    def __iter__(self) -> Iterator[ActiveSession]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __bool__(self) -> bool:
        return bool(self.rows)

    def __getitem__(self, page: Any) -> Any:
        if self.handles is not None or not isinstance(page, slice):
            return self.rows[page]
        start = page.start or 0
        return self._rows(self.store.list(offset=start, limit=page.stop - start, **self.wanted))

    def count(self) -> int:
        """How many there are."""
        return len(self.rows) if self.handles is not None else self.store.count(**self.wanted)

    def filter(self, *, pk__in: Collection[str]) -> StoredSessions:
        """The rows an action was chosen for."""
        return StoredSessions(self.store, self.decorate, handles=pk__in)

    def search(self, text: str) -> StoredSessions:
        """A user's, if ``text`` is exactly a user name, else what the store finds."""
        user_id = user_id_of(text) if text else None
        wanted = {"search": text} if user_id is None else {"user_id": user_id}
        return StoredSessions(self.store, self.decorate, **wanted)

    def _clone(self) -> StoredSessions:
        return self


class SessionChangeList(ChangeList):
    """Asks the store instead of the database."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Sessions:
        self.filter_specs, self.has_filters, _params, _many, self.has_active_filters = self.get_filters(
            request
        )
        self.clear_all_filters_qs = self.get_query_string(remove=self.get_filters_params())
        sessions = self.root_queryset
        return sessions.search(self.query) if isinstance(sessions, StoredSessions) else sessions


@admin.register(ActiveSession)
class SessionAdmin(Admin):
    """Who is here, and on what; never the ID of a session, nor its hash."""

    list_display = ("session", "user", "created_at", "last_seen_at", "expires_at", "device", "address")
    fields = ("handle", "user", "created_at", "last_seen_at", "expires_at", "user_agent", "address")
    sortable_by = ()
    search_fields = ("handle",)
    search_help_text = gettext_lazy("A user name, a part of the device's name, an IP address, or a handle")

    @admin.display(description=gettext_lazy("session"))
    def session(self, obj: Any) -> str:
        """The beginning of the public handle; says which one is the reader's own."""
        short = obj.handle[:HANDLE_CHARS]
        return _("%(session)s (this session)") % {"session": short} if obj.is_current else short

    @admin.display(description=gettext_lazy("user"))
    def user(self, obj: Any) -> str:
        return obj.user_name or obj.user_id or _("Guest")

    @admin.display(description=gettext_lazy("device"))
    def device(self, obj: ActiveSession) -> str | None:
        return device_of(obj.user_agent) or None

    @admin.display(description=gettext_lazy("network"))
    def address(self, obj: ActiveSession) -> str | None:
        """The stored address ends in zeros: /24 or /48."""
        return obj.ip or None

    # Where the rows come from

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SessionChangeList

    def get_queryset(self, request: HttpRequest) -> Sessions:
        store = configured_store()
        if store is None:
            return ActiveSession.objects.none()
        return StoredSessions(store, lambda rows: decorate(rows, request))

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> ActiveSession | None:
        return next(iter(self.get_queryset(request).filter(pk__in=[object_id])), None)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "GET" and (text := note()):
            self.message_user(request, text, messages.WARNING)
        return super().changelist_view(request, extra_context)

    # What may be done

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ActiveSession | None = None) -> bool:
        return False

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Without a table there is nothing that hangs on a session."""
        names = [f"{self.user(obj)}, {device_of(obj.user_agent) or '-'} ({obj.handle})" for obj in objs]
        lacking = set() if self.has_delete_permission(request) else {self.opts.verbose_name}
        return names, {self.opts.verbose_name_plural: len(names)}, lacking, []

    def delete_model(self, request: HttpRequest, obj: ActiveSession) -> None:
        self.delete_queryset(request, [obj])

    def delete_queryset(self, request: HttpRequest, queryset: Iterable[ActiveSession]) -> None:
        """Revoke them. One that has ended meanwhile is as good as revoked."""
        store = configured_store()
        for session in queryset:
            if store:
                store.revoke(session.handle)


def note() -> str:
    """What a reader has to know of the list."""
    store = configured_store()
    if store is None:
        return _("SESSION_ENGINE is not one of chatsession's stores: these sessions cannot be listed.")
    if store.per_process:
        return _("These are the sessions of this process only (%(pid)d): they are kept in its memory.") % {
            "pid": os.getpid()
        }
    return ""


def decorate(rows: list[Any], request: HttpRequest) -> None:
    """Give the rows of a page their users' names, by one query, and mark the reader's own session."""
    names = user_names({row.user_id for row in rows if row.user_id})
    current = request.session.handle if isinstance(request.session, BaseStore) else ""
    for row in rows:
        row.user_name = names.get(row.user_id, "")
        row.is_current = row.handle == current


def user_names(user_ids: Iterable[str]) -> dict[str, str]:
    """The users that are still there, by primary key as text."""
    model = get_user_model()
    keys = []
    for user_id in user_ids:
        try:
            keys.append(model._meta.pk.to_python(user_id))
        except ValidationError:  # of an earlier user model
            continue
    users = model._base_manager.filter(pk__in=keys) if keys else ()
    return {user_key(user): str(user) for user in users}


def user_key(user: Any) -> str:
    """As ``login()`` stores it in the session."""
    return str(user._meta.pk.value_to_string(user))


def user_id_of(name: str) -> str | None:
    """The key of the user of this name, if there is one."""
    model = get_user_model()
    try:
        user = model._base_manager.filter(**{model.USERNAME_FIELD: name}).first()
    except (ValueError, ValidationError):
        return None
    return user_key(user) if user else None
