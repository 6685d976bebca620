"""Execute every notebook of a folder; warnings are errors, and nothing that an execution stores may be in the file."""

import os
import sys
import tempfile
import warnings
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

WARNINGS = "error,ignore::PendingDeprecationWarning:ipykernel.kernelbase"  # the kernel warns of itself as it stops


def problems(path: Path) -> list[str]:
    """What is wrong with a notebook."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    found = []
    if notebook.nbformat != 4:
        found.append(f"nbformat {notebook.nbformat}, not 4")
    if "widgets" in notebook.metadata:
        found.append("widget metadata")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not code:
        found.append("no code")
    if any(cell.outputs or cell.execution_count for cell in code):
        found.append("stored outputs")
    resources = {"metadata": {"path": str(path.parent)}}
    try:
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    except CellExecutionError as error:
        found.append(str(error))
    streams = (output for cell in code for output in cell.outputs if output.output_type == "stream" and output.name == "stderr")
    return found + [f"on standard error: {output.text}" for output in streams]


def main(folder: str) -> int:
    """Check the notebooks of a folder, with nobody's settings, history or kernels but those of this environment; the exit status."""
    paths = sorted(Path(folder).glob("**/*.ipynb"))
    if not paths:
        sys.stderr.write(f"no notebook below {folder}\n")
        return 1
    warnings.simplefilter("error")
    failed = False
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"PYTHONWARNINGS": WARNINGS}
        os.environ |= dict.fromkeys(["IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"], home)
        for path in paths:
            found = problems(path)
            sys.stdout.write(f"{path}: {'; '.join(found) or 'passed'}\n")
            failed |= bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
