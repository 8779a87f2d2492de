from __future__ import annotations

import os

# With settings of its own this folder is run by tests/test_thirdparty.py.
if os.environ.get("DJANGO_SETTINGS_MODULE") != "tests.thirdparty.settings":
    collect_ignore_glob = ["*"]
