"""Find implementations by name without a list of them anywhere.

A family (encoders, objectives, readouts) is a package, and each module in it registers its classes
with ``@register("name")``. What belongs to a data set (its reader, tasks, simulated layout) is a
module of that name in the data set's folder. The registry imports these modules the first time it
is asked for something, so adding an implementation is adding one file. Where a family says so, a
YAML file in the package is an implementation too, under the file's name.

A mistake in one of these files is kept as a sentence that names the file: whatever does not need
the file goes on without it, and a warning says so.
"""

import importlib
import importlib.util
import logging
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from ecgscale.errors import BadInputError
from ecgscale.settings import first_problem

T = TypeVar("T")
log = logging.getLogger(__name__)


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
    required
        Attributes that every class must have.
    """

    def __init__(
        self,
        family: str,
        package: str,
        module: str | None = None,
        describer: str | None = None,
        required: tuple[str, ...] = (),
    ) -> None:
        self.family = family
        self.package = package
        self.module = module
        self.describer = describer
        self.required = required
        self._entries: dict[str, type[T]] = {}
        self._broken: dict[str, str] = {}
        """Module, data set or name to the sentence that says why it is of no use."""
        self._discovered = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Return a class decorator that files the class under `name`.

        Raises
        ------
        BadInputError
            If another class already has this name, which then is nobody's, or if the class lacks
            an attribute that is required.
        """

        def add(cls: type[T]) -> type[T]:
            absent = [attribute for attribute in self.required if not hasattr(cls, attribute)]
            if absent:
                raise BadInputError(f"the {self.family} {name} ({cls.__name__}) has no {absent[0]}")
            known = self._entries.setdefault(name, cls)
            if known is not cls:
                self._broken[name] = (
                    f"two {self.family} classes are named {name!r}: "
                    f"{known.__module__} and {cls.__module__}"
                )
                raise BadInputError(self._broken[name])
            return cls

        return add

    def get(self, name: str) -> type[T]:
        """Return the class filed under `name`.

        Raises
        ------
        BadInputError
            If there is none (the message lists the names there are, and says what is wrong with
            files that could not be read), or if the YAML file of this name is wrong.
        """
        self._discover()
        if name in self._broken:
            raise BadInputError(self._broken[name])
        if name not in self._entries:
            unread = "".join(f"; {sentence}" for sentence in self.broken())
            raise BadInputError(
                f"no {self.family} is named {name!r}; there are: "
                f"{', '.join(self.names()) or 'none'}{unread}"
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
        return sorted(self._entries.keys() - self._broken.keys())

    def broken(self) -> list[str]:
        """Return a sentence for each file that is of no use; it names the file."""
        self._discover()
        return list(dict.fromkeys(self._broken.values()))

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
                self._import(name)
            elif found.ispkg:
                self._import(f"{name}.{self.module}", optional=True)
        if self.describer is not None:
            described = importlib.import_module(self.describer).described
            for file in sorted(Path(package.__path__[0]).glob("*.yaml")):
                try:
                    self.register(file.stem)(described(file))
                except BadInputError as error:  # a mistake in one file leaves the others of use
                    self._break(file.stem, str(error))
        self._discovered = True

    def _import(self, name: str, optional: bool = False) -> None:
        """Import a module; one that cannot be imported is of no use, and its classes neither."""
        try:
            if not optional or importlib.util.find_spec(name):
                importlib.import_module(name)
        except Exception as error:  # whatever a file does wrong, the others are of use
            for key in [key for key, cls in self._entries.items() if cls.__module__ == name]:
                del self._entries[key]
            self._break(name, _sentence(name, error))

    def _break(self, name: str, sentence: str) -> None:
        self._broken[name] = sentence
        log.warning("%s", sentence)


def _sentence(module: str, error: Exception) -> str:
    """Say in one sentence what is wrong with a module, and in which file and line."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    root, *parts = module.split(".")
    own = Path(sys.modules[root].__path__[0], *parts).with_suffix(".py")
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).parent == own.parent]
    place = f"{inside[-1].filename}, line {inside[-1].lineno}" if inside else str(own)
    if isinstance(error, ValidationError):
        return f"{place}: {first_problem(error)}"
    text = " ".join(str(error).split())
    if isinstance(error, BadInputError):
        return text if str(own.parent) in text else f"{place}: {text}"
    return f"{place}: {type(error).__name__}: {text}"
