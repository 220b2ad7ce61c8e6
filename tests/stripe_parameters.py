"""Stripe's view of a request's form, judged by the SDK's own parameter types."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

import stripe
from stripe import _request_options
from typing_extensions import is_typeddict

# What travels in headers, though the SDK's types list it beside the parameters.
OPTIONS = frozenset(_request_options.RequestOptions.__annotations__)


class ParameterRefused(Exception):
    """As Stripe words it."""

    def __init__(self, code: str, message: str, parameter: str) -> None:
        super().__init__(message)
        self.code, self.message, self.parameter = code, message, parameter


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`a[b][0]=c` as {"a": {"b": {"0": "c"}}}: a Stripe form as a tree, its lists still to be told apart."""
    tree: dict[str, Any] = {}
    for name, value in pairs:
        first, *rest = re.findall(r"[^\[\]]+", name)
        branch = tree
        for key, following in zip([first, *rest], rest, strict=False):
            branch = branch.setdefault(key, {})
            assert isinstance(branch, dict), f"{name} is both a value and a folder: {following}"
        branch[[first, *rest][-1]] = value
    return tree


def check(parameters: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The parameters with numbers and booleans read. Raises ParameterRefused for the first that is wrong."""
    return _structure(parameters, kind, path="", leave_out=OPTIONS)


def _structure(given: Any, kind: type, path: str, leave_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ParameterRefused("parameter_invalid", f"Invalid object: {path}", path)
    hints = _hints(kind)
    known = {name: hint for name, hint in hints.items() if name not in leave_out}
    for name in given:
        if name not in known:
            where = _within(path, name)
            raise ParameterRefused("parameter_unknown", f"Received unknown parameter: {where}", where)
    for name, hint in known.items():
        if name not in given and get_origin(hint) is not NotRequired:
            where = _within(path, name)
            raise ParameterRefused("parameter_missing", f"Missing required param: {where}.", where)
    return {name: _value(value, known[name], _within(path, name)) for name, value in given.items()}


@cache
def _hints(kind: type) -> dict[str, Any]:
    # The options are inherited unevaluated: their names must be found, one of which only type checkers see.
    names = vars(_request_options) | {"StripeContext": object}
    return get_type_hints(kind, localns=names, include_extras=True)


def _within(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name


def _value(given: Any, hint: Any, path: str) -> Any:
    origin = get_origin(hint)
    if origin in {NotRequired, Required}:
        return _value(given, get_args(hint)[0], path)
    if origin is Union or isinstance(hint, _UNION):
        return _either(given, get_args(hint), path)
    if is_typeddict(hint):
        return _structure(given, hint, path)
    if origin is list:
        return _list(given, get_args(hint)[0], path)
    if origin is dict:
        if not isinstance(given, Mapping):
            raise ParameterRefused("parameter_invalid", f"Invalid object: {path}", path)
        return {key: _value(value, get_args(hint)[1], _within(path, key)) for key, value in given.items()}
    return _scalar(given, hint, path)


_UNION = type(int | str)


def _either(given: Any, options: tuple[Any, ...], path: str) -> Any:
    """An enum is `Literal[…] | str` in the SDK, for values of tomorrow; Stripe takes those of today."""
    words = {word for each in options if get_origin(each) is Literal for word in get_args(each)}
    if words - {""} and isinstance(given, str):
        if given not in words:
            raise ParameterRefused(
                "parameter_invalid", f"Invalid {path}: must be one of {sorted(words)}", path
            )
        return given
    if given == "" and "" in words:
        return given
    refusal: ParameterRefused | None = None
    for each in options:
        if get_origin(each) is Literal or each is type(None) or _is_sdk_object(each):
            continue
        try:
            return _value(given, each, path)
        except ParameterRefused as error:
            refusal = refusal or error
    raise refusal or ParameterRefused("parameter_invalid", f"Invalid {path}", path)


def _is_sdk_object(hint: Any) -> bool:
    kind = get_origin(hint) or hint
    return isinstance(kind, type) and issubclass(kind, stripe.StripeObject)


def _list(given: Any, item: Any, path: str) -> list[Any]:
    if not isinstance(given, Mapping) or list(given) != [str(number) for number in range(len(given))]:
        raise ParameterRefused("parameter_invalid", f"Invalid array: {path}", path)
    return [_value(value, item, _within(path, number)) for number, value in given.items()]


def _scalar(given: Any, hint: Any, path: str) -> Any:
    if not isinstance(given, str):
        raise ParameterRefused("parameter_invalid", f"Invalid {path}: not a plain value", path)
    if hint is int:
        if re.fullmatch(r"-?[0-9]+", given) is None:
            raise ParameterRefused("parameter_invalid_integer", f"Invalid integer: {given}", path)
        return int(given)
    if hint is bool:
        if given not in {"true", "false"}:
            raise ParameterRefused("parameter_invalid", f"Invalid boolean: {given}", path)
        return given == "true"
    if hint in {float, Decimal}:
        return _decimal(given, path)
    assert hint is str, f"{path}: a type of the SDK that this check does not know: {hint}"
    if given == "":
        raise ParameterRefused("parameter_invalid_empty", f"You passed an empty string for '{path}'.", path)
    return given


def _decimal(given: str, path: str) -> Decimal:
    try:
        return Decimal(given)
    except InvalidOperation:
        raise ParameterRefused("parameter_invalid", f"Invalid decimal: {given}", path) from None
