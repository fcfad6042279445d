"""Pages of the account: invitations and keys. (Sign-up and login are django-allauth's.)"""

from __future__ import annotations

from django.urls import URLPattern, path, re_path

from accounts.pages import invitations, keys

urlpatterns: list[URLPattern] = [
    path("invite/<str:code>/", invitations.invite, name="invite"),
    path("keys/", keys.api_keys, name="keys"),
    path("keys/<str:key_id>/rotate/", keys.rotate, name="key-rotate"),
    re_path(r"^keys/(?P<key_id>\w+)/(?P<action>disable|enable|revoke)/$", keys.change, name="key-change"),
]
