"""Breaks the product in every Python process that has SABOTAGE set to the name of a defect.

Python imports this module at its start when this folder is on PYTHONPATH; so workers, which are processes of their own,
are broken as the tests' own process is.
"""

import importlib
import os

if os.environ.get("SABOTAGE"):
    importlib.import_module(f"defects.{os.environ['SABOTAGE']}")
