"""The product's settings for a test run: a development installation with a data folder that goes away with the run."""

import os
import tempfile

os.environ["NBP_ENV"] = "development"
os.environ["NBP_DATA_DIR"] = tempfile.mkdtemp(prefix="nbp-test-")

# What is to reach Stripe itself names its key by NBP_TEST_STRIPE_KEY.
for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "NBP_STRIPE_API_BASE"):
    os.environ.pop(name, None)

from nbp_site.settings import *  # noqa: E402, F403
