"""All settings, read from the environment; docs/operating.md has a line for each."""

from __future__ import annotations

from nbp_site.environment import (
    DATA_DIR,
    IS_DEVELOPMENT,
    ROOT,
    database_settings,
    email_settings,
    env,
    load_secrets,
)
from nbp_site.operating.logs import logging_settings
from nbp_site.payment_settings import *  # noqa: F403
from nbp_site.payment_settings import STRIPE_PAGES

# --- secrets -----------------------------------------------------------------------------------------------------
_secrets = load_secrets()
SECRET_KEY = _secrets["SECRET_KEY"]
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
NBP_KEY_PEPPER = _secrets["NBP_KEY_PEPPER"]
NBP_FIELD_KEYS = _secrets["NBP_FIELD_KEYS"]
NBP_LINK_KEY = _secrets["NBP_LINK_KEY"]

# --- where we are ------------------------------------------------------------------------------------------------
NBP_IS_DEVELOPMENT = IS_DEVELOPMENT
NBP_DATA_DIR = DATA_DIR
NBP_BASE_URL = env.str("NBP_BASE_URL", default="")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if IS_DEVELOPMENT else [])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
ROOT_URLCONF = "nbp_site.urls"
ASGI_APPLICATION = "nbp_site.asgi.application"
APPEND_SLASH = True
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "nbp_site.apps.SiteConfig",
    "nbp_site.apps.OperatorAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "csp",
    "accounts.apps.AccountsConfig",
    "accounts.ledger.apps.LedgerConfig",
    "accounts.notices.apps.NoticesConfig",
    "accounts.payments.apps.PaymentsConfig",
    "accounts.promotions.apps.PromotionsConfig",
    "generation.apps.GenerationConfig",
    "generation.channels.apps.ChannelsConfig",
]

MIDDLEWARE = [
    "nbp_site.operating.doors.OperatingDoors",
    "nbp_site.request_ids.RequestIdMiddleware",
    "nbp_site.operating.request_log.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
# Paths that the API's own handler serves: every view below them is a coroutine, and no thread stands by for a request.
NBP_API_PREFIXES = (
    "/api/",
    "/m/",
    "/openai/",
    "/openrouter/",
    "/v1/",
    "/gemini/",
    "/v1beta/",
    "/upload/",
    "/ai-gateway/",
)
# Pages below those paths that need the site's own middleware.
NBP_API_PAGES = ("/api/v1/docs", "/api/v1/schema")
# What of the list above an API needs, and nothing that waits: these run on the event loop.
NBP_API_MIDDLEWARE = [
    "nbp_site.request_ids.RequestIdMiddleware",
    "nbp_site.operating.request_log.RequestLog",
    "nbp_site.loop_middleware.Security",
    "nbp_site.loop_middleware.ContentSecurityPolicy",
    "nbp_site.loop_middleware.Common",
    "nbp_site.loop_middleware.FrameOptions",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "generation.pages.context.site",
            ],
        },
    },
]

# --- storage -----------------------------------------------------------------------------------------------------
DATABASES = {"default": database_settings()}
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [ROOT / "templates" / "static"]
MEDIA_ROOT = env.str("NBP_MEDIA_ROOT", default=str(DATA_DIR / "media"))
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": MEDIA_ROOT, "file_permissions_mode": 0o640},
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
NBP_SPOOL_DIR = DATA_DIR / "spool"

# --- people ------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
ACCOUNT_ADAPTER = "accounts.pages.adapter.SignupPolicyAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
LOGIN_REDIRECT_URL = "playground"
ACCOUNT_LOGOUT_REDIRECT_URL = "landing"
LOGIN_URL = "account_login"
NBP_SIGNUP = env.str("NBP_SIGNUP", default="open" if IS_DEVELOPMENT else "closed")
NBP_PLAY_MONEY_MICROS = env.int("NBP_PLAY_MONEY_MICROS", default=100_000_000)

# --- mail --------------------------------------------------------------------------------------------------------
_email = email_settings()
vars().update(_email)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="Nano Banana Pro <noreply@localhost>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# --- the queue ---------------------------------------------------------------------------------------------------
NBP_BROKER_URL = env.str("CELERY_BROKER_URL", default="memory://localhost/")
NBP_REDIS_URL = env.str("REDIS_URL", default="")
NBP_WORKER_THREADS = env.int("NBP_WORKER_THREADS", default=64)

# --- generation --------------------------------------------------------------------------------------------------
NBP_LEASE_SECONDS = env.int("NBP_LEASE_SECONDS", default=60)
NBP_CALL_DEADLINE_SECONDS = env.float("NBP_CALL_DEADLINE_SECONDS", default=300.0)
NBP_JOB_GATHER_SECONDS = env.float("NBP_JOB_GATHER_SECONDS", default=60.0)
NBP_JOB_MAX_ITEMS = env.int("NBP_JOB_MAX_ITEMS", default=500)
NBP_JOB_POLL_SECONDS = env.float("NBP_JOB_POLL_SECONDS", default=30.0)
NBP_FLEX_DEADLINE_SECONDS = env.float("NBP_FLEX_DEADLINE_SECONDS", default=900.0)
NBP_RETRY_BASE_SECONDS = env.float("NBP_RETRY_BASE_SECONDS", default=1.0)
NBP_SHUTDOWN_GRACE_SECONDS = env.float("NBP_SHUTDOWN_GRACE_SECONDS", default=10.0)
NBP_ACCOUNT_RUNNING_CAP = env.int("NBP_ACCOUNT_RUNNING_CAP", default=50)
NBP_TEST_RUNNING_CAP = env.int("NBP_TEST_RUNNING_CAP", default=32)
NBP_ACCOUNT_JOB_CAP = env.int("NBP_ACCOUNT_JOB_CAP", default=50_000)
NBP_ACCOUNT_QUEUE_CAP = env.int("NBP_ACCOUNT_QUEUE_CAP", default=1000)
NBP_LINK_SECONDS = env.int("NBP_LINK_SECONDS", default=3600)
NBP_ACCEL_PREFIX = env.str("NBP_ACCEL_PREFIX", default="")
NBP_MAX_BODY_BYTES = env.int("NBP_MAX_BODY_BYTES", default=100 * 1024 * 1024)
NBP_FETCH_ALLOW_HOSTS = env.list("NBP_FETCH_ALLOW_HOSTS", default=[])
NBP_WAITING_THREADS = env.int("NBP_WAITING_THREADS", default=16)
NBP_INTAKE_THREADS = env.int("NBP_INTAKE_THREADS", default=16)
NBP_REQUESTS_PER_MINUTE = env.int("NBP_REQUESTS_PER_MINUTE", default=600)
NBP_REFUSED_KEYS_PER_MINUTE = env.int("NBP_REFUSED_KEYS_PER_MINUTE", default=60)
NBP_UPLOAD_BYTES = env.int("NBP_UPLOAD_BYTES", default=2 * 1024 * 1024 * 1024)
NBP_BATCH_MAX_ITEMS = env.int("NBP_BATCH_MAX_ITEMS", default=10_000)
NBP_IDEMPOTENCY_DAYS = env.int("NBP_IDEMPOTENCY_DAYS", default=7)
NBP_CHANNEL_CHECK_SECONDS = env.float("NBP_CHANNEL_CHECK_SECONDS", default=600.0)
NBP_CHANNEL_LOW_BALANCE_MICROS = env.int("NBP_CHANNEL_LOW_BALANCE_MICROS", default=10_000_000)
NBP_CATALOGUE_SECONDS = env.float("NBP_CATALOGUE_SECONDS", default=2.0)

# --- the API -----------------------------------------------------------------------------------------------------
DATA_UPLOAD_MAX_MEMORY_SIZE = NBP_MAX_BODY_BYTES
DATA_UPLOAD_MAX_NUMBER_FILES = 20
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["generation.dialects.native.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "generation.dialects.native.parsers.StrictJSONParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "generation.dialects.native.negotiation.OneFormat",
    "EXCEPTION_HANDLER": "generation.dialects.native.errors.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Nano Banana Pro service",
    "DESCRIPTION": "Images by prompt, each charged exactly once or failed for free.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "LaneWish": ["standard", "flex", "batch", "auto"],
        "Lane": ["standard", "flex", "batch"],
        "GenerationStatus": ["queued", "running", "succeeded", "failed", "canceled"],
        "AttemptStatus": ["sent", "ok", "error", "unknown"],
        "WalletStatus": ["active", "frozen", "closed"],
        "Mode": ["live", "test"],
        "ImageSizeWish": ["1K", "2K", "4K", "auto"],
    },
}

# --- browsers ----------------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "frame-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        # Chromium holds a form's redirect to this, too: to Stripe's pages and back.
        "form-action": ["'self'", *STRIPE_PAGES],
        "frame-ancestors": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
_is_https = NBP_BASE_URL.startswith("https://") or (not IS_DEVELOPMENT and not NBP_BASE_URL)
SESSION_COOKIE_SECURE = _is_https
CSRF_COOKIE_SECURE = _is_https
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=_is_https)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000 if _is_https else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = _is_https
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=False)
if env.bool("NBP_BEHIND_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    USE_X_FORWARDED_HOST = True
    ALLAUTH_TRUSTED_PROXY_COUNT = 1

# --- logs --------------------------------------------------------------------------------------------------------
NBP_LOG_FORMAT = env.str("NBP_LOG_FORMAT", default="line" if IS_DEVELOPMENT else "json")
LOGGING = logging_settings(
    form=NBP_LOG_FORMAT,
    level=env.str("NBP_LOG_LEVEL", default="INFO"),
    library_level=env.str("NBP_LOG_LEVEL", default="WARNING"),
)

# --- operating ---------------------------------------------------------------------------------------------------
NBP_METRICS_TOKEN = env.str("NBP_METRICS_TOKEN", default="")
NBP_METRICS_HOST = env.str("NBP_METRICS_HOST", default="127.0.0.1")
NBP_METRICS_PORT = env.int("NBP_METRICS_PORT", default=0)
NBP_MIN_FREE_BYTES = env.int("NBP_MIN_FREE_BYTES", default=500_000_000)
NBP_WORKER_STALE_SECONDS = env.float("NBP_WORKER_STALE_SECONDS", default=60.0)
NBP_WORKER_STALLED_EXIT_SECONDS = env.float("NBP_WORKER_STALLED_EXIT_SECONDS", default=0.0 if IS_DEVELOPMENT else 120.0)
NBP_RETENTION_PROMPT_DAYS = env.int("NBP_RETENTION_PROMPT_DAYS", default=0)
NBP_RETENTION_IMAGE_DAYS = env.int("NBP_RETENTION_IMAGE_DAYS", default=0)
NBP_OTEL = env.bool("NBP_OTEL", default=False)

# SQLite leaves out of an index what PostgreSQL carries along in it. To be preloaded is for the operator to want.
SILENCED_SYSTEM_CHECKS = ["models.W040", "security.W021"]
