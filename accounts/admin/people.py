"""Users, their places in accounts, and invitations to sign up."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.ledger.admin.columns import RowAdmin, RowInline, account_filter, account_link, link, when
from accounts.management.people import find_user, vouch_for
from accounts.models import Invitation, Membership, User

_POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")


def _free_email(form: Any) -> str:
    email = str(form.cleaned_data["email"]).lower()
    if find_user(email) not in (None, form.instance):
        raise forms.ValidationError("There is a user with this address.")
    return email


class NewPersonForm(AdminUserCreationForm):  # type: ignore[type-arg]
    """A user by e-mail address."""

    class Meta:
        model = User
        fields = ("email",)

    clean_email = _free_email


class PersonForm(UserChangeForm):  # type: ignore[type-arg]
    """A user who exists."""

    clean_email = _free_email


class MembershipInline(RowInline):
    """The accounts of a user."""

    model = Membership
    extra = 0
    raw_id_fields = ("account",)
    fields = ("account", "role", "created_at")
    readonly_fields = ("created_at",)


@admin.register(User)
class PersonAdmin(UserAdmin):  # type: ignore[type-arg]
    """Users. Only a superuser gives powers away or touches another superuser."""

    form = PersonForm
    add_form = NewPersonForm
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": ("email", "usable_password", "password1", "password2"),
                "description": "The address counts as verified: you vouch for it.",
            },
        ),
    )
    fieldsets = (
        (None, {"fields": ("email", "password", "first_name", "last_name")}),
        ("Powers", {"fields": ("is_active", *_POWERS)}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("last_login", "date_joined")
    list_display = (
        "email",
        "is_active",
        "is_staff",
        "is_superuser",
        when("last_login", "last login"),
        when("date_joined", "joined"),
    )
    list_filter = ("is_active", "is_staff", "is_superuser", "date_joined")
    search_fields = ("email", "first_name", "last_name", "accounts__name")
    ordering = ("-id",)
    inlines = (MembershipInline,)

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else ()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if _is_superuser(request) else (*fields, *_POWERS)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change or "email" in form.changed_data:
            vouch_for(obj)


def _is_superuser(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))


def _may_touch(request: HttpRequest, obj: User | None) -> bool:
    return obj is None or not obj.is_superuser or _is_superuser(request)


@admin.display(description="user", ordering="user__email")
def _user(row: Membership) -> SafeString:
    return link("accounts_user_change", row.user.pk, row.user.email)


@admin.register(Membership)
class MembershipAdmin(RowAdmin):
    """Who belongs where."""

    list_display = ("id", _user, account_link(), "role", "created_at")
    list_filter = ("role", account_filter())
    list_select_related = ("user", "account")
    raw_id_fields = ("user", "account")
    search_fields = ("user__email", "account__name")
    ordering = ("-id",)


@admin.display(description="link")
def _invitation_link(row: Invitation) -> SafeString:
    url = settings.NBP_BASE_URL.rstrip("/") + reverse("invite", args=[row.code])
    return format_html('<a href="{}">{}</a>', url, url)


@admin.register(Invitation)
class InvitationAdmin(RowAdmin):
    """Links that let people sign up while sign-up is by invitation."""

    list_display = (
        "__str__",
        _invitation_link,
        when("created_at", "created"),
        when("expires_at", "expires"),
        when("used_at", "used"),
        "created_by",
    )
    list_filter = ("created_at", "used_at")
    fields: ClassVar[Any] = ("email", "expires_at", _invitation_link, "created_at", "used_at", "created_by")
    readonly_fields: ClassVar[Any] = (_invitation_link, "created_at", "used_at", "created_by")
    search_fields = ("email",)
    ordering = ("-id",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_fields(request, obj) if obj else ("email", "expires_at")

    def save_model(self, request: HttpRequest, obj: Invitation, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=form.changed_data)
            return
        obj.code, obj.created_by = secrets.token_urlsafe(24), request.user  # type: ignore[assignment]
        obj.save()
        url = request.build_absolute_uri(reverse("invite", args=[obj.code]))
        until = f" until {timezone.localtime(obj.expires_at):%Y-%m-%d %H:%M}" if obj.expires_at else ""
        self.message_user(request, f"Whoever opens {url} may sign up{until}, once.", messages.SUCCESS)
