"""Find implementations by name without a list of them anywhere.

A family (sources, encoders, objectives, tasks) is a package. Each module in it registers its
classes with ``@register("name")``; the registry imports the package's modules the first time it is
asked for something, so adding an implementation is adding one file.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ecgscale.errors import BadInputError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names mapped to classes, discovered in one package.

    Parameters
    ----------
    family
        What is registered, in the singular, for error messages ("encoder").
    package
        Dotted name of the package whose modules hold the implementations.
    """

    def __init__(self, family: str, package: str) -> None:
        self.family = family
        self.package = package
        self._entries: dict[str, type[T]] = {}
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
            If there is none; the message lists the names there are.
        """
        self._discover()
        if name not in self._entries:
            raise BadInputError(
                f"no {self.family} is named {name!r}; there are: {', '.join(sorted(self._entries))}"
            )
        return self._entries[name]

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
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        self._discovered = True
