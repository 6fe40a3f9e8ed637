"""A run of its own process, for tests that kill it or start several: `python job.py SETTINGS`.

SETTINGS is JSON: training settings that differ from the fixture's.
"""

import importlib.util
import json
import sys
from pathlib import Path

from reiqa.pretrain import loop

spec = importlib.util.spec_from_file_location("shared", Path(__file__).with_name("conftest.py"))
shared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared)

loop.view_source = lambda expert, params: shared.Patterns()
loop.pretrain("quality", shared.make_params(**json.loads(sys.argv[1])))
