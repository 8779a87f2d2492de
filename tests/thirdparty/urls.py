from __future__ import annotations

from django.http import HttpResponse
from django.urls import include, path
from rest_framework.decorators import api_view
from rest_framework.response import Response

from tests import urls


def shows_toolbar(request):
    return request.path == "/page" or request.path.startswith("/__debug__/")


def page(request):
    request.session["seen"] = "by the toolbar"
    return HttpResponse("<html><body>A page</body></html>")


@api_view(["GET", "POST"])
def api(request):
    request.session["by"] = request.method
    return Response({"user": request.user.get_username()})


urlpatterns = [
    *urls.urlpatterns,
    path("accounts/", include("allauth.account.urls")),
    path("accounts/sessions/", include("allauth.usersessions.urls")),
    path("__debug__/", include("debug_toolbar.urls")),
    path("page", page),
    path("api", api),
]
