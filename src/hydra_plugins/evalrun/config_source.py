"""A user's `./conf` for Hydra, in which text is what is written, without quotes too: `name: 1e3`, `path: 1.10`."""

import io
from pathlib import Path

from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from evalrun.config.hydra_private import FileConfigSource


class TypedFileSource(FileConfigSource):
    """Hydra's own files, read with `as_typed.yaml_text`."""

    @staticmethod
    def scheme() -> str:
        """What an address on the search path begins with."""
        return "evalrun"

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a config file, text as it is written."""
        from evalrun.config.as_typed import yaml_text

        name = self._normalize_file_name(config_path)
        try:
            text = (Path(self.path) / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigLoadError(f"Config not found : {Path(self.path) / name}") from None
        header = ConfigSource._get_header_dict(text[:512])
        group = name.rpartition("/")[0].partition("/")[0]
        package = (header["package"] or group).replace("_group_", group).removeprefix("_global_").lstrip(".")
        return ConfigResult(
            config=OmegaConf.load(io.StringIO(yaml_text(text, package))),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header=header,
        )
