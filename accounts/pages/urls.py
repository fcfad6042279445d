"""Pages of the account: invitations, keys and billing, and Stripe's door. (Sign-up and login are django-allauth's.)"""

from __future__ import annotations

from django.urls import URLPattern, path, re_path

from accounts.pages import billing, credit, invitations, keys, webhook

urlpatterns: list[URLPattern] = [
    path("invite/<str:code>/", invitations.invite, name="invite"),
    path("billing/", billing.billing, name="billing"),
    path("billing/auto-recharge/", billing.set_auto_recharge, name="auto-recharge"),
    path("billing/limits/", credit.set_limits, name="limits"),
    path("billing/redeem/", credit.redeem, name="redeem"),
    path("billing/portal/", billing.portal, name="billing-portal"),
    path("billing/top-ups/<str:payment_id>/", billing.top_up, name="top-up"),
    path("billing/top-ups/<str:payment_id>/refund/", billing.refund, name="top-up-refund"),
    path("webhooks/stripe", webhook.stripe, name="stripe-webhook"),
    path("keys/", keys.api_keys, name="keys"),
    path("keys/<str:key_id>/rotate/", keys.rotate, name="key-rotate"),
    re_path(r"^keys/(?P<key_id>\w+)/(?P<action>disable|enable|revoke)/$", keys.change, name="key-change"),
]
