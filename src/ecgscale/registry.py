"""Find implementations by name without a list of them anywhere.

A family (encoders, objectives, readouts) is a package, and each module in it registers its classes
with ``@register("name")``. What belongs to a data set (its reader, tasks, simulated layout) is a
module of that name in the data set's folder. The registry imports these modules the first time it
is asked for something, so adding an implementation is adding one file. Where a family says so, a
YAML file in the package is an implementation too, under the file's name.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from ecgscale.errors import BadInputError
from ecgscale.settings import first_problem

T = TypeVar("T")


class Registry(Generic[T]):
    """Names mapped to classes, discovered in one package.

    Parameters
    ----------
    family
        What is registered, in the singular, for error messages ("encoder").
    package
        Dotted name of the package whose modules hold the implementations.
    module
        Name of the module that holds them in each folder of the package; None where the package's
        own modules do.
    describer
        Dotted name of the module whose function `described` makes a class of the path of a YAML
        file that lies in the package; None where such files are no implementations.
    """

    def __init__(
        self,
        family: str,
        package: str,
        module: str | None = None,
        describer: str | None = None,
    ) -> None:
        self.family = family
        self.package = package
        self.module = module
        self.describer = describer
        self._entries: dict[str, type[T]] = {}
        self._broken: dict[str, str] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Return a class decorator that files the class under `name`.

        Raises
        ------
        ValueError
            If another class already has this name.
        """

        def add(cls: type[T]) -> type[T]:
            known = self._entries.setdefault(name, cls)
            if known is not cls:
                raise ValueError(
                    f"two {self.family} classes are named {name!r}: "
                    f"{known.__module__} and {cls.__module__}"
                )
            return cls

        return add

    def get(self, name: str) -> type[T]:
        """Return the class filed under `name`.

        Raises
        ------
        BadInputError
            If there is none (the message lists the names there are), or if the YAML file of this
            name is wrong.
        """
        self._discover()
        if name in self._broken:
            raise BadInputError(self._broken[name])
        if name not in self._entries:
            raise BadInputError(
                f"no {self.family} is named {name!r}; there are: {', '.join(sorted(self._entries))}"
            )
        return self._entries[name]

    def params(self, name: str, given: Mapping[str, Any]) -> Any:
        """Return the typed parameters of the class filed under `name`, its ``Params``.

        Raises
        ------
        BadInputError
            If there is no such class, or a parameter is unknown or out of range.
        """
        cls: Any = self.get(name)
        try:
            return cls.Params(**given)
        except ValidationError as error:
            problem = first_problem(error)
            raise BadInputError(f"{self.family} {name}, parameter {problem}") from error

    def names(self) -> list[str]:
        """Return every registered name, sorted."""
        self._discover()
        return sorted(self._entries)

    def items(self) -> Iterator[tuple[str, type[T]]]:
        """Iterate over (name, class), sorted by name."""
        for name in self.names():
            yield name, self._entries[name]

    def _discover(self) -> None:
        if self._discovered:
            return
        package = importlib.import_module(self.package)
        for found in pkgutil.iter_modules(package.__path__):
            name = f"{self.package}.{found.name}"
            if self.module is None:
                importlib.import_module(name)
            elif found.ispkg and importlib.util.find_spec(f"{name}.{self.module}"):
                importlib.import_module(f"{name}.{self.module}")
        if self.describer is not None:
            described = importlib.import_module(self.describer).described
            for file in sorted(Path(package.__path__[0]).glob("*.yaml")):
                try:
                    self.register(file.stem)(described(file))
                except BadInputError as error:  # a mistake in one file leaves the others of use
                    self._broken[file.stem] = str(error)
        self._discovered = True
