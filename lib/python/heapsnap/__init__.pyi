from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from types import TracebackType
from typing import Any, TypeVar

_T = TypeVar("_T")
_Path = str | bytes | PathLike[str] | PathLike[bytes]

__version__: str
__all__: list[str]

class Error(OSError): ...

def snap(
    path: _Path,
    label: str | None = None,
    step: int | None = None,
    rank: int | None = None,
    counters: Mapping[str, int] | None = None,
    collect: bool = False,
    overwrite: bool = False,
) -> None: ...

class Every:
    n: int
    path: _Path
    collect: bool
    overwrite: bool
    count: int
    def __init__(self, n: int, path: _Path, collect: bool = False, overwrite: bool = False) -> None: ...
    def step(self, label: str | None = None, counters: Mapping[str, int] | None = None) -> bool: ...
    def __enter__(self) -> Every: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

def every(n: int, path: _Path, collect: bool = False, overwrite: bool = False) -> Every: ...
def epochs(iterable: Iterable[_T], path: _Path, collect: bool = False, overwrite: bool = False) -> Iterator[_T]: ...
def is_tracked() -> bool: ...
def diff(paths: Iterable[_Path], *options: str) -> dict[str, Any]: ...
def show(path: _Path, *options: str) -> dict[str, Any]: ...
