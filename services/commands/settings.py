"""`kairos settings`: every setting with its value, default and meaning."""

import argparse
import os

from services.settings import describe_settings, read_settings

NAME = "settings"
HELP = "list every setting with its value, its default and its meaning"
EXAMPLE = "KAIROS_PORT=9000 kairos settings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""
    parser.set_defaults()


def run(_: argparse.Namespace) -> int:
    """Prints the table. Raises SettingsInvalid with all problems."""
    for variable, value, default, meaning in describe_settings(read_settings(os.environ)):
        print(f"{variable}={value}\n    {meaning} (default {default})")
    return 0
