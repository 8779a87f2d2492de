from __future__ import annotations

import pytest

from chatsession.stores import memory


@pytest.fixture(autouse=True)
def empty_memory_store():
    memory.SessionStore.reset()
