"""A site's views that use ``request.session``, for the tests of middleware, stores and servers."""

from __future__ import annotations

import asyncio
import time
from io import BytesIO

from django.contrib.auth import alogin, get_user_model, login, logout
from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path


def untouched(request):
    return HttpResponse("nothing read, nothing written")


async def auntouched(request):
    return HttpResponse("nothing read, nothing written")


def dump(request):
    """The session as the next request finds it."""
    return JsonResponse(dict(request.session))


async def adump(request):
    return JsonResponse(dict(await request.session.aitems()))


def write(request):
    """Store the query's values; ``status`` is the response's."""
    request.session.update(request.GET.dict())
    return HttpResponse(status=int(request.GET.get("status", 200)))


async def awrite(request):
    await request.session.aupdate(request.GET.dict())
    return HttpResponse(status=int(request.GET.get("status", 200)))


def flush(request):
    request.session.flush()
    return HttpResponse()


async def aflush(request):
    await request.session.aflush()
    return HttpResponse()


def sign_in(request):
    login(request, get_user_model().objects.get(username=request.GET["name"]))
    return HttpResponse(status=int(request.GET.get("status", 200)))


async def asign_in(request):
    await alogin(request, await get_user_model().objects.aget(username=request.GET["name"]))
    return HttpResponse()


def sign_out(request):
    logout(request)
    return HttpResponse()


def file(request):
    class Pages(BytesIO):
        def close(self):
            request.session["file"] = "closed"
            super().close()

    request.session["file"] = "open"
    return FileResponse(Pages(b"pages"))


def stream(request):
    """Write before, while and after streaming ``chunks`` of ``size`` bytes; ``error`` raises in between."""
    request.session["stream"] = "open"
    body = achunks if isinstance(request, ASGIRequest) else chunks
    return StreamingHttpResponse(body(request), content_type="text/plain")


def chunks(request):
    try:
        for n, chunk in plan(request):
            request.session["sent"] = n
            yield chunk
            time.sleep(0.01)
    finally:
        request.session["stream"] = "closed"


async def achunks(request):
    try:
        for n, chunk in plan(request):
            request.session["sent"] = n
            yield chunk
            await asyncio.sleep(0.01)
    finally:
        request.session["stream"] = "closed"


def plan(request):
    for n in range(int(request.GET.get("chunks", 3))):
        yield n, b"x" * int(request.GET.get("size", 1))
    if "error" in request.GET:
        raise RuntimeError("the model is gone")


VIEWS = [
    *(untouched, auntouched, dump, adump, write, awrite, flush, aflush),
    *(sign_in, asign_in, sign_out, file, stream),
]
urlpatterns = [path(view.__name__, view) for view in VIEWS]
