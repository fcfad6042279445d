"""The product's settings for a test run: a development installation with a data folder that goes away with the run."""

import os
import tempfile

os.environ["NBP_ENV"] = "development"
os.environ["NBP_DATA_DIR"] = tempfile.mkdtemp(prefix="nbp-test-")

from nbp_site.settings import *  # noqa: F403
