"""Stopping an answer that another worker writes."""

from __future__ import annotations

from unittest import mock

from django.contrib.auth.models import User
from django.test import TransactionTestCase

from chatsession.runs import recovery, service
from chatsession.runs.engine import Engine
from tests.runs.test_engine import Gate, send


class OtherWorkerTests(TransactionTestCase):
    def setUp(self):
        self.client.force_login(User.objects.create_user("hanako", pk=1))
        gate, other = Gate(), Engine()
        with mock.patch.object(service, "engine", other), mock.patch.object(recovery, "engine", other):
            self.turn, _ = send(gate)
        assert gate.written.wait(5)

    def stop(self):
        return self.client.post("/chat/api/chat/c/stop", content_type="application/json").json()

    def test_the_end_is_waited_for(self):
        run_id = self.turn.answer.run_id
        assert self.stop() == {"stopped": True, "runId": run_id, "status": "stopped"}
        assert self.stop() == {"stopped": False, "runId": None, "status": None}
