"""Users whose primary keys are no numbers."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models


class UuidUser(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)

    class Meta(AbstractUser.Meta):
        swappable = "AUTH_USER_MODEL"  # where it is not the one, it is not there


class NamedUser(AbstractUser):
    """With a string for a key that is at home in neither URLs nor file names."""

    id = models.CharField(primary_key=True, max_length=64)

    class Meta(AbstractUser.Meta):
        swappable = "AUTH_USER_MODEL"
