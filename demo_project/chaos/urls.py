from __future__ import annotations

import os
import signal
import threading

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.http import require_POST

from chatsession.conversations.turns import ACTIVE
from chatsession.models import Message
from chatsession.runs import stored
from demo_project.urls import urlpatterns as demo

#: Seconds until the kill: the response has left by then.
PAUSE = 0.1


@require_POST
def kill(request: HttpRequest) -> HttpResponse:
    """Kill -9 the worker that writes the newest answer; if none is written, the one that serves this."""
    pid = writer() or os.getpid()
    print(f"kill -9 {pid}", flush=True)
    threading.Timer(PAUSE, os.kill, (pid, signal.SIGKILL)).start()
    return HttpResponse(status=204)  # the page stays as it is


def writer() -> int | None:
    """The ID of the process whose lease the newest unfinished answer is under, unless it is dead already."""
    answer = Message.objects.filter(status__in=ACTIVE).order_by("-id").first()
    return int(str(answer.lease).partition("-")[0]) if answer and stored.is_held(answer) else None


urlpatterns = [*demo, path("chaos/kill/", kill, name="kill")]
