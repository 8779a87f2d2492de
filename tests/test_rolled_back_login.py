"""A view that logs in and then fails: with ``ATOMIC_REQUESTS`` the session's new key is taken back."""

from __future__ import annotations

import pytest
from django.contrib.auth import alogin, login
from django.db import connection
from django.http import JsonResponse
from django.test import AsyncClient, Client
from django.urls import path

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]
BACKEND = "django.contrib.auth.backends.ModelBackend"


def fill(request):
    request.session["cart"] = 1
    return JsonResponse({})


def show(request):
    return JsonResponse(dict(request.session))


def fail(request):
    login(request, request.user_to_be(), BACKEND)
    raise RuntimeError("after the login")


async def afail(request):
    await alogin(request, await request.auser_to_be(), BACKEND)
    raise RuntimeError("after the login")


urlpatterns = [path("fill", fill), path("show", show), path("fail", fail), path("afail", afail)]


@pytest.fixture
def ann(django_user_model, monkeypatch):
    user = django_user_model.objects.create_user("ann")

    async def auser(request):
        return user

    monkeypatch.setattr("django.http.HttpRequest.user_to_be", lambda request: user, raising=False)
    monkeypatch.setattr("django.http.HttpRequest.auser_to_be", auser, raising=False)


@pytest.mark.parametrize("atomic", [False, True])
def test_the_visitor_keeps_the_session(ann, monkeypatch, atomic):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic)
    client = Client(raise_request_exception=False)
    client.get("/fill")

    assert client.get("/fail").status_code == 500

    assert client.get("/show").json()["cart"] == 1


def test_the_visitor_keeps_the_session_in_an_async_view(ann):
    from asgiref.sync import async_to_sync

    async def visit():
        client = AsyncClient(raise_request_exception=False)
        await client.get("/fill")
        failed = await client.get("/afail")
        return failed.status_code, (await client.get("/show")).json()["cart"]

    assert async_to_sync(visit)() == (500, 1)
