"""What the process's environment says, and the secrets a development installation makes for itself.

Production takes every secret from the environment and refuses to start without one.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping

ROOT = Path(__file__).resolve().parent.parent

env = environ.FileAwareEnv()
if (ROOT / ".env").exists():
    env.read_env(str(ROOT / ".env"))
# A variable that is set to nothing is not set.
env.ENVIRON = FileAwareMapping({name: value for name, value in os.environ.items() if value})

ENVIRONMENT = env.str("NBP_ENV", default="production")
IS_DEVELOPMENT = ENVIRONMENT == "development"
DATA_DIR = Path(env.str("NBP_DATA_DIR", default=str(ROOT / "var"))).expanduser().resolve()

if ENVIRONMENT not in ("development", "production"):
    raise ImproperlyConfigured(f"NBP_ENV must be development or production, not {ENVIRONMENT!r}.")

# Database, keys and images lie here: for the owner's eyes only.
DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)

SECRET_NAMES = ("SECRET_KEY", "NBP_KEY_PEPPER", "NBP_FIELD_KEYS", "NBP_LINK_KEY")


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read (mode 0600), replacing it in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _new_secret(name: str) -> str:
    if name == "NBP_FIELD_KEYS":
        return f"k1:{secrets.token_hex(32)}"
    return secrets.token_urlsafe(48)


def _development_secrets() -> dict[str, str]:
    path = DATA_DIR / "secrets.json"
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    missing = [name for name in SECRET_NAMES if name not in known]
    if missing:
        known |= {name: _new_secret(name) for name in missing}
        write_private(path, json.dumps(known, indent=1))
    return known


def load_secrets() -> dict[str, str]:
    """Every name of `SECRET_NAMES`: from the environment (or NAME_FILE); in development the rest is made once."""
    given = {name: env.str(name, default="") for name in SECRET_NAMES}
    missing = [name for name, value in given.items() if not value]
    if not missing:
        return given
    if not IS_DEVELOPMENT:
        raise ImproperlyConfigured(
            f"Production needs {', '.join(missing)} in the environment (or {missing[0]}_FILE). docs/operating.md "
            "says how to make them; NBP_ENV=development makes its own."
        )
    made = _development_secrets()
    return given | {name: made[name] for name in missing}


def email_settings() -> dict[str, object]:
    """Django's e-mail settings from EMAIL_URL; development without one writes mails to files that /dev/mail/ shows."""
    if env.str("EMAIL_URL", default=""):
        return dict(env.email_url("EMAIL_URL"))
    if IS_DEVELOPMENT:
        return {
            "EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "EMAIL_FILE_PATH": str(DATA_DIR / "mail"),
        }
    raise ImproperlyConfigured("Production needs EMAIL_URL, for example smtp+tls://user:password@mail.example.org:587.")


def database_settings() -> dict[str, object]:
    """PostgreSQL (with a pool) from DATABASE_URL, or SQLite in the data directory."""
    url = env.str("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'nbp.sqlite3'}")
    settings: dict[str, object] = dict(environ.Env.db_url_config(url))
    if "sqlite" in str(settings["ENGINE"]):
        # FULL, because a power cut must not lose a commit that moved money; IMMEDIATE, because a transaction that
        # starts as a reader and turns writer fails at once instead of waiting.
        settings["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON",
        }
        # A shared in-memory test database has no busy handler: concurrent writers would fail instead of waiting.
        settings["TEST"] = {"NAME": str(DATA_DIR / f"test-{os.getpid()}.sqlite3")}
        return settings
    settings["CONN_MAX_AGE"] = 0
    settings["CONN_HEALTH_CHECKS"] = False
    settings["OPTIONS"] = {
        "pool": {"min_size": 2, "max_size": env.int("NBP_DATABASE_POOL", default=20), "timeout": 20},
        # Parameters travel beside the statement, and the database keeps the plans of statements that come again.
        "server_side_binding": True,
        "prepare_threshold": 5 if env.bool("NBP_PREPARE_STATEMENTS", default=True) else None,
        # A silent network or a frozen process must not hold a thread or a row for good.
        "connect_timeout": 10,
        "tcp_user_timeout": 30_000,
        "options": "-c lock_timeout=20s -c idle_in_transaction_session_timeout=60s",
    }
    return settings
