"""Puts into the built package what it reads at run time from the top of a checkout; all else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
INSIDE = Path("ablatent") / "project"
"""What `ablatent.core.options.package_root` is in an installed package."""


class BuildWithOptions(build_py):
    """Copies these files, unless the checkout itself is installed (pip install -e): it has them where they are."""

    def run(self) -> None:
        super().run()
        for source, target in {} if self.editable_mode else self._options().items():
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *([] if self.editable_mode else self._options().values())]

    def _options(self) -> dict[str, str]:
        """File of the checkout → its place in the built package."""
        files = [file for name in ("conf", "experiments") for file in sorted((HERE / name).rglob("*.yaml"))]
        files.append(HERE / "requirements-data.txt")
        return {str(file): str(Path(self.build_lib) / INSIDE / file.relative_to(HERE)) for file in files}


setup(cmdclass={"build_py": BuildWithOptions})
