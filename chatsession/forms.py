"""The API's input, validated by Django's forms so that every refusal is translated."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from chatsession.conf import conf

#: As in ``Conversation.public_id``, in code points.
MAX_ID_CHARS = 190


def validate_storable(value: str) -> None:
    """Refuses lone surrogates, which JSON can carry and UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValidationError(
            _("The text contains characters that cannot be stored."), code="surrogate"
        ) from None


def validate_segment(value: str) -> None:
    """An ID is one segment of a path: the AI SDK puts it into an address as it is."""
    if "/" in value or value in (".", "..") or not value.isprintable():
        raise ValidationError(_("An ID has no slashes and no control characters."), code="invalid_id")


class StrictCharField(forms.CharField):
    """Takes text only: a number or a list in the JSON is an error, not its ``str()``."""

    default_validators = [validate_storable]

    def to_python(self, value: Any) -> Any:
        if value is not None and not isinstance(value, str):
            raise ValidationError(_("This must be text."), code="type")
        return super().to_python(value)


class ParamsField(forms.Field):
    """A JSON object of at most 10,000 characters that every database stores: finite numbers, no NUL."""

    def to_python(self, value: Any) -> dict[str, Any]:
        try:
            text = json.dumps(value or {}, allow_nan=False, ensure_ascii=False)
            text.encode()
        except (ValueError, RecursionError):
            text = ""
        if not isinstance(value or {}, dict) or not 0 < len(text) <= 10_000 or "\\u0000" in text:
            raise ValidationError(_("This must be an object of plain values."), code="invalid")
        return value or {}


def id_field() -> StrictCharField:
    """The ID of a conversation or a message, the client's to choose."""
    validators = [validate_segment]
    return StrictCharField(max_length=MAX_ID_CHARS, required=False, strip=False, validators=validators)


class ChatForm(forms.Form):
    """``POST chat``. ``text`` is required unless the trigger asks to answer again."""

    id = id_field()
    message_id = id_field()
    text = StrictCharField(required=False, strip=False)
    trigger = forms.ChoiceField(choices=[("submit-message", ""), ("regenerate-message", "")], required=False)
    model = StrictCharField(max_length=100, required=False)
    params = ParamsField(required=False)
    existing = forms.BooleanField(required=False)

    def clean_text(self) -> str:
        """Between one and ``MAX_MESSAGE_CHARS`` code points, not only white space."""
        text: str = self.cleaned_data["text"]
        if len(text) > conf.MAX_MESSAGE_CHARS:
            limit = conf.MAX_MESSAGE_CHARS
            message = _("The message has %(size)d characters; at most %(limit)d are allowed.")
            raise ValidationError(message, code="max_length", params={"size": len(text), "limit": limit})
        if not text.strip() and self.data.get("trigger") != "regenerate-message":
            raise ValidationError(_("Please write a message."), code="required")
        return text


class StopForm(forms.Form):
    """``POST chat/<id>/stop``: ``runId`` as we gave it."""

    runId = forms.RegexField("^[0-9a-f]{32}$", required=False)


class ConversationForm(forms.Form):
    """``POST`` and ``PATCH conversations``; a missing field leaves things as they are."""

    id = id_field()
    title = StrictCharField(max_length=200, required=False)
    archived = forms.BooleanField(required=False)
    leaf = id_field()


class FeedbackForm(forms.Form):
    """``PUT messages/<id>/feedback``."""

    value = forms.TypedChoiceField(choices=[(-1, ""), (0, ""), (1, "")], coerce=int)
    comment = StrictCharField(max_length=5000, required=False)
