"""Builds the web console into the wheel. An editable install takes what ``make setup`` built."""

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ConsoleHook(BuildHookInterface[Any]):
    """Runs before the files of a wheel are collected."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (hatch's signature)
        """Build the console. ``version`` is ``editable`` or ``standard``."""
        script = Path(self.root) / "console" / "build.py"
        if version == "editable" or not script.is_file():
            return
        found = importlib.util.spec_from_file_location("palyra_console_build", script)
        if found is None or found.loader is None:
            raise RuntimeError(f"{script} cannot be loaded")
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        module.build()
