"""Who asks: users, the accounts (tenants) they belong to, API keys and invitations."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models import Q, Value

from accounts.identifiers import new_uuid, public_id

MODES = [("live", "live"), ("test", "test")]


class EmailUserManager(UserManager["User"]):
    """Creates users by e-mail address; there are no user names."""

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> User:  # type: ignore[override]
        user = self.model(email=self.normalize_email(email), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> User:  # type: ignore[override]
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)


class User(AbstractUser):
    """A person who signs in with an e-mail address."""

    username = None  # type: ignore[assignment]
    email = models.EmailField("e-mail address", unique=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[EmailUserManager] = EmailUserManager()

    def __str__(self) -> str:
        return self.email


class Account(models.Model):
    """A tenant: it owns keys, wallets and images. A suspended account keeps its money and can start nothing new."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"
        CLOSED = "closed"

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    name = models.CharField(max_length=200)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    running_cap = models.PositiveIntegerField(
        null=True, blank=True, help_text="Outputs running at once; empty = the site's default."
    )
    queue_cap = models.PositiveIntegerField(
        null=True, blank=True, help_text="Unfinished outputs; empty = the site's default."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    members = models.ManyToManyField(User, through="Membership", related_name="accounts")

    @property
    def public_id(self) -> str:
        return public_id("acc", self.id)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A user's place in an account."""

    class Role(models.TextChoices):
        OWNER = "owner"
        MEMBER = "member"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.OWNER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "user"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.account}"


class Invitation(models.Model):
    """Lets one person sign up while sign-up is by invitation only."""

    code = models.CharField(max_length=64, unique=True)
    email = models.EmailField(blank=True, help_text="Empty = anybody who has the link.")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, editable=False, related_name="+")

    def __str__(self) -> str:
        return self.email or f"invitation {self.pk}"


class ApiKey(models.Model):
    """A REST client's credential. Only a keyed hash of the secret is kept; the key itself is shown once.

    An empty list or null in a limit means "no limit of the key's own".
    """

    class Period(models.TextChoices):
        NONE = "none", "never resets"
        DAILY = "daily"
        WEEKLY = "weekly"
        MONTHLY = "monthly"

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="api_keys")
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    name = models.CharField(max_length=100)
    mode = models.CharField(max_length=4, choices=MODES)
    key_id = models.CharField(max_length=12, unique=True, editable=False)
    key_hash = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list, blank=True)

    budget_micros = models.BigIntegerField(null=True, blank=True)
    budget_period = models.CharField(max_length=8, choices=Period, default=Period.NONE)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    concurrency = models.PositiveIntegerField(null=True, blank=True, help_text="Unfinished outputs at once.")
    max_image_size = models.CharField(max_length=2, blank=True, default="")
    max_n = models.PositiveIntegerField(null=True, blank=True)
    max_references = models.PositiveIntegerField(null=True, blank=True)
    is_grounding_allowed = models.BooleanField(default=True)
    are_images_inline = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Answers of chats carry their image in the text, too, as a Markdown link.",
    )
    allowed_models = models.JSONField(default=list, blank=True)
    ip_list = models.JSONField(default=list, blank=True, help_text="Addresses or networks; empty = anywhere.")
    routing = models.JSONField(
        default=dict, blank=True, db_default=Value({}, models.JSONField()), help_text="What its requests say of roads."
    )

    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    budget_owner = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The first key of a rotation, whose spending counts; empty = this key itself.",
    )
    rotated_from = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="rotations")

    class Meta:
        verbose_name = "API key"
        indexes = [models.Index(fields=["account", "-created_at"], name="api_key_account")]
        constraints = [
            models.CheckConstraint(condition=Q(mode__in=("live", "test")), name="api_key_mode"),
            models.CheckConstraint(
                condition=Q(budget_micros__isnull=True) | Q(budget_micros__gte=0), name="api_key_budget"
            ),
        ]

    @property
    def public_id(self) -> str:
        return public_id("key", self.id)

    @property
    def prefix(self) -> str:
        """The part that may be shown: enough to recognize a key, useless to call with."""
        return f"nbp_{self.mode}_{self.key_id}"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"


def account_of(user: User) -> Account | None:
    """The account a user acts for on the site: the earliest one joined."""
    membership = user.memberships.select_related("account").order_by("created_at", "id").first()
    return membership.account if membership else None
