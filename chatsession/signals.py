"""Signals of the sessions and of the chat.

Session signals are sent by the store's class with ``session`` (the ``SessionStore``); chat signals by
the ``Message`` model with ``message`` (the row).
"""

from __future__ import annotations

from django.dispatch import Signal

#: A record was stored for the first time. Arguments: session.
session_created = Signal()
#: A record was found for a presented ID. Arguments: session.
session_loaded = Signal()
#: The ID changed (login, ``cycle_key()``). Arguments: session, old_hash, new_hash (hashes, never the IDs).
session_id_changed = Signal()
#: A presented ID belonged to an expired record, which was removed. Arguments: session.
session_expired = Signal()
#: A session was ended from outside: screens, commands, limits. Arguments: handle, user_id (str or None).
session_revoked = Signal()
#: The commit at the end of a streamed response could not store its changes. Arguments: session, error.
session_commit_failed = Signal()

#: A message reached the database. Arguments: message.
message_saved = Signal()
#: A run began. Arguments: message.
run_started = Signal()
#: A run ended, whatever its status. Arguments: message, timings
#: (dict of seconds: first_token, total).
run_finished = Signal()
