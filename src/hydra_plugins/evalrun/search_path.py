"""Lets a user's own `./conf` add to evalrun's configs."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from evalrun.config.compose import register
from evalrun.config.own_yaml import conf_dir, conf_dirs


class EvalrunSearchPath(SearchPathPlugin):
    """Appends `./conf` of the current folder, and only where evalrun's own configs are the primary ones."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Register the schema and append the user's folder."""
        ours = f"file://{conf_dir()}"
        if not any(element.path in (ours, str(conf_dir())) for element in search_path.get_path()):
            return
        register()
        for folder in conf_dirs()[1:]:
            search_path.append(provider="evalrun-user", path=f"evalrun://{folder}")
