"""Runs a verb: flags in, one clear line out when the user slipped, exit statuses that scripts can trust."""
from __future__ import annotations

import contextlib
import inspect
import os
import signal
import sys
import textwrap
import traceback
from typing import Any, Callable, Dict, Iterator, NoReturn, Sequence, Tuple

from absl import flags

USER_ERROR = 2  # the user's mistake, or the machine's: a bad flag, a missing file, a full disk, Ctrl-C
OUR_BUG = 1
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
    if "--help" in sys.argv[1:] or "-h" in sys.argv[1:]:
        with quiet_pipe():
            print(usage(main, example), flush=True)
        sys.exit(0)
    try:
        argv = flags.FLAGS(sys.argv)
    except flags.Error as error:
        _fail(f"leanood {verb}: {_line(error)}; `leanood {verb} --help` lists the flags")
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
    """The verb's help: its module's docstring, its own flags with their defaults, an example."""
    module = inspect.getmodule(main)
    own = {id(flag): flag for name in (getattr(module, "__name__", ""), __name__)
           for flag in flags.FLAGS.flags_by_module_dict().get(_flags_module(name), [])}
    lines = [inspect.getdoc(module) or "", "", "Flags:"]
    for flag in sorted(own.values(), key=lambda flag: flag.name):
        values = getattr(flag.parser, "enum_values", None)
        kind = "|".join(values) if values else flag.flag_type()
        default = "required" if flag.default is None and flag.name in _required() else f"default {flag.default}"
        lines.append(f"  --{flag.name}  ({kind}; {default})")
        lines.extend(textwrap.wrap(flag.help or "", 100, initial_indent="      ", subsequent_indent="      "))
    return "\n".join([*lines, "", "Example:", f"  {example}"])


def define_json() -> flags.FlagHolder:
    """Defines `--json`: results as one JSON object on stdout instead of a table."""
    return flags.DEFINE_boolean("json", False, "print the results as JSON instead of a table", module_name=__name__)


def table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    """An aligned text table: text to the left, numbers to the right, None as a dash.

    Args:
      rows: one sequence a row, as long as `headers`; floats are shown with four significant digits.
      headers: column titles.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [bool(rows) and all(isinstance(row[i], (int, float, type(None))) for row in rows)
               for i in range(len(headers))]
    widths = [max([len(title)] + [len(row[i]) for row in cells]) for i, title in enumerate(headers)]

    def line(row: Sequence[str]) -> str:
        padded = (c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric))
        return "  ".join(padded).rstrip()

    return "\n".join([line(list(headers)), line(["-" * width for width in widths]), *map(line, cells)])


def pairs(words: Sequence[str]) -> Dict[str, str]:
    """Reads name=value words of a list flag, e.g. ["logits=predictions"] -> {"logits": "predictions"}."""
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise ValueError(f"{word!r} should be name=value, e.g. logits=predictions")
    return dict(word.split("=", 1) for word in words)


def size(text: str) -> Tuple[int, int]:
    """Reads "height x width" in pixels, e.g. "64x64"."""
    height, times, width = text.partition("x")
    if not (times and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise ValueError(f"size is {text!r}, but should be height x width in pixels, e.g. 64x64")
    return int(height), int(width)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(str(value)).replace("\n", "?")


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


def printable(text: str) -> str:
    """The text with "?" for what a terminal would obey: a file's name, or a file, may hold anything."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _drop_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _fail(message: str) -> NoReturn:
    print(printable(message), file=sys.stderr)
    sys.exit(USER_ERROR)
