"""What evalrun takes from Hydra's private package: an upgrade that moves it breaks this file alone."""

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.file_config_source import FileConfigSource

__all__ = ["Callbacks", "FileConfigSource"]
