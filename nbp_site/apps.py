from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class SiteConfig(AppConfig):
    name = "nbp_site"


class OperatorAdminConfig(AdminConfig):
    default_site = "nbp_site.admin_site.OperatorAdminSite"
