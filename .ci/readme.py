"""Print the README's set-up commands, one a line: under ``## Set-up``, exactly two fenced ``bash`` blocks of one line each."""

import re
import sys
from pathlib import Path


def main(path: str) -> None:
    """Print the commands, or say what is wrong with the README."""
    text = Path(path).read_text(encoding="utf-8")
    section = re.search(r"^## Set-up[ \t]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        sys.exit(f"{path}: no heading '## Set-up'")
    blocks = [block.strip() for block in re.findall(r"^```bash[ \t]*\n(.*?)^```[ \t]*$", section[1], re.MULTILINE | re.DOTALL)]
    if len(blocks) != 2 or not all(blocks) or any("\n" in block for block in blocks):
        sys.exit(f"{path}: under '## Set-up' there must be exactly two ```bash blocks of one line each, not {blocks}")
    sys.stdout.write("".join(f"{block}\n" for block in blocks))


main(sys.argv[1])
