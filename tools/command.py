"""Runs a verb: flags in, one clear line out when the user slipped, exit statuses that scripts can trust."""
from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import signal
import sys
import textwrap
import traceback
import warnings
from typing import Any, Callable, Dict, Iterator, List, NoReturn, Optional, Sequence, Tuple, Union

from absl import flags

from leanood.workflow import tabular

table, printable = tabular.text, tabular.printable

USER_ERROR = 2  # the user's mistake, or the machine's: a bad flag, a missing file, a full disk, Ctrl-C
OUR_BUG = 1
_NUMBER = re.compile(r"^\[Errno -?\d+\] ")
_REQUIRED = re.compile(r"flag --(\w+)=None: Flag --\1 must have a value other than None\.?")
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(main: Callable[[Sequence[str]], Any], example: str) -> NoReturn:
    """Parses the flags, calls `main(argv)` and exits with its status.

    Args:
      main: the verb; `argv[1:]` are its positional arguments. It raises ValueError or OSError with one
        line that names what is wrong and what to do; it may return an exit status (None is 0).
      example: a command line that works, shown by `--help`.

    Exit statuses: 0 done; 1 our own bug (with its traceback); 2 a user's mistake, in one line on stderr.
    """
    # A verb that is told to stop unwinds like Ctrl-C does, so that its half-done work is put away.
    signal.signal(signal.SIGTERM, _interrupt)
    verb = _verb(main)
    warnings.showwarning = lambda message, *_, **__: _say(f"leanood {verb}: {_line(message)}")
    if "--help" in sys.argv[1:] or "-h" in sys.argv[1:]:
        with quiet_pipe():
            print(usage(main, example), flush=True)
        sys.exit(0)
    try:
        argv = flags.FLAGS(sys.argv)
    except flags.Error as error:
        said = _REQUIRED.sub(r"--\1 is needed", _line(error))
        _fail(f"leanood {verb}: {said}; `leanood {verb} --help` lists the flags")
    try:
        status = main(argv)
        sys.stdout.flush()
        sys.exit(status or 0)
    except KeyboardInterrupt:
        _fail(f"leanood {verb}: interrupted; whatever was complete is kept, the same command goes on from there")
    except BrokenPipeError:  # `leanood … | head`
        _drop_stdout()
        sys.exit(USER_ERROR)
    except ImportError as error:
        _fail(f"leanood {verb}: {_line(error)}; install what this verb needs: pip install 'leanood[train]'")
    except Exception as error:  # noqa: BLE001 - the boundary between us and the user
        if os.environ.get("LEANOOD_TRACEBACK"):
            traceback.print_exc()
        if isinstance(error, (OSError, MemoryError)) or isinstance(error, (ValueError, RuntimeError)) and _ours(error):
            _fail(f"leanood {verb}: {_line(error)}")
        traceback.print_exc()
        print(f"leanood {verb}: a bug of leanood's, please report the lines above", file=sys.stderr)
        sys.exit(OUR_BUG)


@contextlib.contextmanager
def quiet_pipe() -> Iterator[None]:
    """Ends quietly what is printed within, where its reader has gone (`leanood --help | head`)."""
    try:
        yield
    except BrokenPipeError:
        _drop_stdout()


def usage(main: Callable[..., Any], example: str) -> str:
    """The verb's help: its module's docstring, its flags (the shared ones too) with their defaults, an example."""
    lines = [inspect.getdoc(inspect.getmodule(main)) or "", "", "Flags:"]
    for flag in _flags():
        values = getattr(flag.parser, "enum_values", None)
        kind = "|".join(values) if values else flag.flag_type()
        default = "required" if flag.default is None and flag.name in _required() else \
            f"default {flag.default_as_str if isinstance(flag.default, (list, tuple)) else flag.default}"
        lines.append(f"  --{flag.name}  ({kind}; {default})")
        lines.extend(textwrap.wrap(flag.help or "", 100, initial_indent="      ", subsequent_indent="      "))
    return "\n".join([*lines, "", "Example:", f"  {example}"])


def arguments() -> Dict[str, Any]:
    """The verb's flags by name, but `json`: what its library function takes by the same names."""
    return {flag.name: flag.value for flag in _flags() if flag.name != "json"}


def only_flags(argv: Sequence[str]) -> None:
    """Raises ValueError if there is an argument that is no flag."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; flags are written --name=value")


def show(result: Any) -> None:
    """Prints a result: its table, or with `--json` its `summary` as one JSON object."""
    print(json.dumps(result.summary) if flags.FLAGS["json"].value else result)


def define_json() -> flags.FlagHolder:
    """Defines `--json`: results as one JSON object on stdout instead of a table."""
    return flags.DEFINE_boolean("json", False, "print the results as JSON instead of a table", module_name=__name__)


def define_size(name: str, help: str) -> flags.FlagHolder:  # noqa: A002
    """Defines a flag "height x width" in pixels, e.g. 64x64, whose value is (64, 64) or None."""
    return _define(_Size(), name, None, help)


def define_numbers(name: str, default: Optional[Sequence[int]], help: str) -> flags.FlagHolder:  # noqa: A002
    """Defines a flag of whole numbers with commas between, whose value is a list of them."""
    return _define(_Numbers(), name, None if default is None else list(default), help)


def define_pairs(name: str, help: str) -> flags.FlagHolder:  # noqa: A002
    """Defines a flag of name=value words with commas between, whose value is a mapping or None."""
    return _define(_Pairs(), name, None, help)


def size(text: str) -> Tuple[int, int]:
    """Reads "height x width" in pixels, e.g. "64x64"."""
    height, times, width = text.partition("x")
    if not (times and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise ValueError(f"size is {text!r}, but should be height x width in pixels, e.g. 64x64")
    return int(height), int(width)


class _Size(flags.ArgumentParser):
    def parse(self, argument: Any) -> Any:
        return size(argument) if isinstance(argument, str) else argument

    def flag_type(self) -> str:
        return "height x width"


class _Numbers(flags.ArgumentParser):
    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            return argument
        words = [word.strip() for word in argument.split(",") if word.strip()]
        if not all(word.isdigit() for word in words):
            raise ValueError("should be whole numbers with commas between")
        return [int(word) for word in words]

    def flag_type(self) -> str:
        return "whole numbers with commas between"


class _Pairs(flags.ArgumentParser):
    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            return argument
        for word in argument.split(","):
            name, equals, value = word.partition("=")
            if not (name and equals and value):
                raise ValueError(f"{word!r} should be name=value, e.g. logits=predictions")
        pairs = dict(word.split("=", 1) for word in argument.split(","))
        if len(pairs) < len(argument.split(",")):
            raise ValueError("names something twice")
        return pairs

    def flag_type(self) -> str:
        return "name=value with commas between"


class _Words(flags.ArgumentSerializer):
    def serialize(self, value: Any) -> str:
        return ",".join(map(str, value))


def _define(parser: flags.ArgumentParser, name: str, default: Any, help: str) -> flags.FlagHolder:  # noqa: A002
    # The module that calls define_… owns the flag, not this one.
    module = sys._getframe(2).f_globals["__name__"]
    return flags.DEFINE(parser, name, default, help, serializer=_Words(), module_name=_flags_module(module))


def _flags() -> List[Any]:
    """The flags of the one verb that is loaded, by name: all that modules of tools/ have defined."""
    defined = flags.FLAGS.flags_by_module_dict()
    verb_flags = {id(flag): flag for module, its in defined.items()
                  if module.startswith("leanood.tools.") or module == sys.argv[0] for flag in its}
    return sorted(verb_flags.values(), key=lambda flag: flag.name)


def _verb(main: Callable[..., Any]) -> str:
    return os.path.splitext(os.path.basename(inspect.getfile(main)))[0]


def _flags_module(name: str) -> str:
    # absl knows the running script by its path, not as "__main__".
    return sys.argv[0] if name == "__main__" else name


def _required() -> set:
    return {flag.name for flag in flags.FLAGS._flags().values() if not flag.allow_override and flag.default is None
            and any("must have a value" in str(v.message) or "None" in str(v.message) for v in flag.validators)}


def _ours(error: BaseException) -> bool:
    """True if the error was raised by a line of leanood, which then speaks to the user; a library's own is our bug."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and os.path.abspath(frames[-1].filename).startswith(_PACKAGE + os.sep)


def _drop_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _line(error: Union[BaseException, str]) -> str:
    """What an error, or a text, says in one line, without the system's number for it."""
    return _NUMBER.sub("", " ".join(str(error).split())) or type(error).__name__


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _say(message: str) -> None:
    print(printable(message), file=sys.stderr)


def _fail(message: str) -> NoReturn:
    _say(message)
    sys.exit(USER_ERROR)
