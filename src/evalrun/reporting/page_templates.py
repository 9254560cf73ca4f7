"""The templates of pages: what results are called is escaped, and a value that is not given is an error."""

from __future__ import annotations

import jinja2


def page_template(name: str) -> jinja2.Template:
    """A template of this folder, by its file's name."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evalrun", "reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
