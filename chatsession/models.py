"""The tables: sessions, conversations, messages (a run is the answer it writes) and worker leases."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Session(models.Model):
    """One record of the database store.

    ``id`` is the surrogate that survives ``cycle_key()`` and serves as the public handle; the ID of the
    cookie is only here as ``key_hash``, ``"1$" + sha256(session_key)``.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key_hash = models.CharField(max_length=66, unique=True)
    data = models.BinaryField()
    #: Raised by every write of ``data``: compare-and-set.
    version = models.PositiveBigIntegerField(default=1)
    #: Raised by ``clear()``: savers that loaded an older one lose.
    generation = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(db_index=True)
    expires_at = models.DateTimeField(db_index=True)
    #: From here ``ABSOLUTE_AGE`` counts; NULL: from its creation.
    login_at = models.DateTimeField(null=True)
    #: Primary key of the logged-in user as text: any user model, any key, no cross-database relation.
    user_id = models.CharField(max_length=64, null=True, db_index=True)  # noqa: DJ001
    #: The guest's owner ID that the data holds: guests' conversations live as long as it.
    guest = models.CharField(max_length=64, null=True, db_index=True)  # noqa: DJ001
    user_agent = models.CharField(max_length=300, blank=True)
    #: Truncated to /24 or /48 before it is stored.
    ip = models.CharField(max_length=45, blank=True)

    class Meta:
        verbose_name = _("session record")
        verbose_name_plural = _("session records")

    def __str__(self) -> str:
        return str(self.id)


class ActiveSession(models.Model):
    """What the admin shows: one session of whatever store is configured. It has no table."""

    handle = models.CharField(_("session"), max_length=36, primary_key=True)
    user_id = models.CharField(_("user"), max_length=64, null=True)  # noqa: DJ001
    created_at = models.DateTimeField(_("created"))
    last_seen_at = models.DateTimeField(_("last seen"))
    expires_at = models.DateTimeField(_("expires"))
    user_agent = models.CharField(_("device"), max_length=300)
    ip = models.CharField(_("IP address"), max_length=45)

    class Meta:
        managed = False
        default_permissions = ("view", "delete")
        verbose_name = _("session")
        verbose_name_plural = _("sessions")

    def __str__(self) -> str:
        return self.handle


class Conversation(models.Model):
    """A tree of messages that belongs to one owner."""

    #: ``user:<pk>``, ``guest:<random>`` or what ``CHATSESSION["OWNER"]`` answers.
    owner = models.CharField(max_length=190)
    #: Owners and IDs are looked up by SHA-256, so that they compare exactly under every collation.
    owner_hash = models.CharField(max_length=64)
    #: The ID its owner knows it by.
    public_id = models.CharField(max_length=190)
    public_hash = models.CharField(max_length=64)
    title = models.CharField(_("title"), max_length=200, blank=True)
    model = models.CharField(_("model"), max_length=100, blank=True)
    system_prompt = models.TextField(_("system prompt"), blank=True)
    params = models.JSONField(default=dict, blank=True)
    archived = models.BooleanField(default=False)
    #: The newest message of the branch on show.
    leaf = models.ForeignKey("Message", null=True, on_delete=models.SET_NULL, related_name="+")
    #: The run that is writing here, or NULL: the lease that keeps it to one.
    active_run = models.CharField(max_length=32, null=True)  # noqa: DJ001
    #: The guest it was claimed from at login, so that the claim can be undone.
    claimed_from = models.CharField(max_length=190, null=True, db_index=True)  # noqa: DJ001
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        constraints = [
            models.UniqueConstraint(
                fields=["owner_hash", "public_hash"], name="chatsession_conversation_owner_id"
            ),
        ]
        indexes = [models.Index(fields=["owner_hash", "-updated_at", "-id"], name="chatsession_conv_newest")]

    def __str__(self) -> str:
        return self.title or self.public_id


class Message(models.Model):
    """A question, or an answer together with the run that writes it.

    ``parts`` is a list of AI SDK UI message parts: ``{"type": "text", "text": str}``,
    ``{"type": "reasoning", "text": str}``, ``{"type": "source-url", "sourceId", "url", "title"}``.
    """

    class Role(models.TextChoices):
        USER = "user", _("User")
        ASSISTANT = "assistant", _("Assistant")

    class Status(models.TextChoices):
        QUEUED = "queued", _("queued")
        STREAMING = "streaming", _("being written")
        COMPLETE = "complete", _("complete")
        STOPPED = "stopped", _("stopped")
        INTERRUPTED = "interrupted", _("interrupted")
        ERROR = "error", _("failed")

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", null=True, on_delete=models.CASCADE, related_name="children")
    role = models.CharField(max_length=10, choices=Role)
    public_id = models.CharField(max_length=190)
    public_hash = models.CharField(max_length=64)
    #: Hash of the ID a client sent it under: siblings made by edits share it, ``public_id`` stays unique.
    sent_hash = models.CharField(max_length=64, blank=True)
    #: Hash of the parts as sent: the same ID with the same parts is the same message, sent again.
    parts_hash = models.CharField(max_length=64, blank=True)
    parts = models.JSONField(default=list)
    status = models.CharField(max_length=12, choices=Status, default=Status.COMPLETE)
    model = models.CharField(max_length=100, blank=True)
    params = models.JSONField(default=dict, blank=True)
    usage = models.JSONField(default=dict, blank=True)
    feedback = models.SmallIntegerField(null=True)
    feedback_comment = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    # The run. Empty on questions.
    run_id = models.CharField(max_length=32, null=True, unique=True)  # noqa: DJ001
    #: Token of the worker that writes it; every write of the run is conditional on it.
    lease = models.CharField(max_length=32, null=True)  # noqa: DJ001
    stop_requested = models.BooleanField(default=False)
    #: Public handle of the session it was asked from: revoking that ends the run's readers.
    session_handle = models.CharField(max_length=36, blank=True)
    language = models.CharField(max_length=20, blank=True)
    request_id = models.CharField(max_length=32, blank=True)
    #: Safe, translated text of what went wrong.
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "public_hash"], name="chatsession_message_conversation_id"
            ),
        ]
        indexes = [models.Index(fields=["conversation", "sent_hash"], name="chatsession_message_sent")]

    def __str__(self) -> str:
        return self.public_id


class Worker(models.Model):
    """The lease of one process with live runs; older than 20 s means that the process is dead."""

    token = models.CharField(max_length=32, primary_key=True)
    renewed_at = models.DateTimeField()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return self.token
