"""What the pages link to outside this folder comes into the site as well: a link works there and on a code host."""

import re
from pathlib import Path

from mkdocs.structure.files import File, InclusionLevel


def on_files(files, config):
    """Add the pictures, reports and sources that pages name by `../`."""
    pages = [Path(page.abs_src_path).read_text(encoding="utf-8") for page in files.documentation_pages()]
    for place in sorted({place for page in pages for place in re.findall(r"\]\((\.\./[^)#]+)", page)}):
        target = str(Path(config.docs_dir, place).resolve())
        file = File.generated(config, place, abs_src_path=target, inclusion=InclusionLevel.INCLUDED)
        file.dest_uri = place.removeprefix("../")
        files.append(file)
    return files
