"""Declaring methods, objects and contracts, and finding them in what a worker is given."""

from __future__ import annotations

import functools
import types
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import pytest
from temporalio import activity
from temporalio.common import RawValue

from delegator import ConfigurationError, connect, contract, delegated, existing_activities, implements, resource
from delegator.contracts import collect, collect_handlers, collect_types, delegated_type
from http_workers import HttpWorker


class Emails:
    def __init__(self, sender: str) -> None:
        self.sender = sender

    @delegated
    async def send(self, to: str) -> str:
        return f"{self.sender}>{to}"

    @delegated(name="counted")
    def count(self, to: str) -> int:
        return len(to)

    @staticmethod
    @delegated
    def normalize(to: str) -> str:
        return to.lower()

    @classmethod
    @delegated
    def domain(cls, to: str) -> str:
        return f"{to}@{cls.__name__}"


class Marketing(Emails):
    async def send(self, to: str) -> str:  # not declared: it hides the one that is
        return "spam"


class Greeter:
    @delegated
    async def __call__(self, name: str) -> str:
        return f"hello {name}"


@resource
async def emails() -> AsyncIterator[Emails]:
    yield Emails("resource")


def module_of(**values: object) -> types.ModuleType:
    module = types.ModuleType("made")
    vars(module).update(values)
    return module


async def test_methods() -> None:
    """The class declares the types of its methods, and the object that is given runs them."""
    assert (delegated_type(Emails.send).name, delegated_type(Emails.send).arg_types) == ("send", (str,))
    assert delegated_type(Emails("a").send) == delegated_type(Emails.send)
    for given in ([Emails("a")], [module_of(emails=Emails("a"), Emails=Emails)]):
        handlers = collect_handlers(given)
        assert sorted(handlers) == ["counted", "domain", "normalize", "send"]
        assert await handlers["send"].function("b") == "a>b"
        assert (handlers["counted"].function("b"), handlers["counted"].is_async) == (1, False)
        assert (handlers["normalize"].function("B"), handlers["domain"].function("b")) == ("b", "b@Emails")
    bound = Emails("a").send
    assert collect_handlers([bound, bound])["send"].function == bound


def test_class_in_module() -> None:
    """A class in a module declares its types, and gives handlers for its static and class methods only."""
    module = module_of(Emails=Emails)
    assert sorted(collect_types([module])) == ["counted", "domain", "normalize", "send"]
    assert sorted(collect_handlers([module])) == ["domain", "normalize"]


def test_overridden_method() -> None:
    """A method without a declaration that overrides a declared one is not a handler."""
    assert sorted(collect_handlers([Marketing("a")])) == ["counted", "domain", "normalize"]


def test_two_objects() -> None:
    """Two objects whose methods have the same types are refused."""
    with pytest.raises(ConfigurationError, match=r"type 'send': .*Emails.send .* of two objects; give the worker one"):
        collect_handlers([Emails("a").send, Emails("b").send])


async def test_callable_objects() -> None:
    class Adder:
        def __call__(self, number: int) -> int:
            return number + 1

    adder = delegated(name="add")(Adder())
    assert (delegated_type(adder).arg_types, delegated_type(adder).return_type) == ((int,), int)
    assert delegated_type(delegated(Adder())).name == "Adder"
    greeter = Greeter()
    handlers = collect_handlers([module_of(adder=adder, greeter=greeter)])
    assert {name: handler.is_async for name, handler in handlers.items()} == {"add": False, "Greeter": True}
    assert await handlers["Greeter"].function("you") == "hello you"
    assert delegated_type(greeter).name == "Greeter"


async def test_methods_of_resource() -> None:
    """The methods of the object that a resource yields are handlers while it is open. They keep their names."""
    found = collect([module_of(emails=emails, Emails=Emails)])
    for name, method in (("send", Emails.send), ("counted", Emails.count)):
        handler = found.handlers[name].function
        for attribute in functools.WRAPPER_ASSIGNMENTS:
            assert getattr(handler, attribute) == getattr(method, attribute)
    assert found.resources == (emails,)
    with emails.provide(Emails("given")):
        assert await found.handlers["send"].function("b") == "given>b"
        assert found.handlers["counted"].function("abc") == 3
    with pytest.raises(ConfigurationError, match="emails is not open here"):
        await found.handlers["send"].function("b")


def test_unknown_annotation() -> None:
    """A declaration with an undefined name in an annotation is refused, with that name."""

    async def later(item: Item) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigurationError, match="later: name 'Item' is not defined, which an annotation needs"):
        delegated(later)


def test_proxy_in_module() -> None:
    """A proxy object in a module that raises on any access is ignored."""

    class Proxy:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("outside of a request")

    assert collect_handlers([module_of(proxy=Proxy(), send=Emails("a").send)]).keys() == {"send"}


def test_wrapped_function() -> None:
    """A function wrapped with functools.wraps keeps its declaration, and the wrapper runs."""

    def traced(function: Any) -> Any:
        @functools.wraps(function)
        async def call(*args: Any) -> Any:
            return await function(*args)

        return call

    @traced
    @delegated
    async def inner(number: int) -> int:
        return number

    assert collect_handlers([inner])["inner"].function is inner


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Emails.send, "Emails.send needs an object: give the worker one of its class"),
        (Emails, "Emails needs an object"),
        (module_of, "module_of is not a delegated activity type: decorate it with @delegated"),
        (3, "an object of builtins.int declares no delegated activity type: give modules"),
        ("shop.tasks", "'shop.tasks' is a text: import the module"),
        ({"a": Emails}, "an object of builtins.dict declares no delegated activity type"),
    ],
)
def test_not_a_handler(given: Any, said: str) -> None:
    """An object without a declaration is refused as a handler."""
    with pytest.raises(ConfigurationError, match=said):
        collect_handlers([given])


def test_contract_as_handler() -> None:
    """A contract is refused as a handler, with a hint to @implements."""

    @contract()
    async def promised(number: int) -> int:
        raise NotImplementedError

    with pytest.raises(ConfigurationError, match="promised is a contract: give the worker a function that @implements"):
        collect_handlers([promised])


async def test_implements() -> None:
    """Functions and methods implement contracts, with limits of their own."""

    @contract(queue="video")
    async def promised(number: int) -> str:
        raise NotImplementedError

    @implements(promised, max_concurrent=2, max_per_second=5)
    def kept(number: int) -> str:
        return str(number)

    class Holder:
        @implements(promised)
        async def kept(self, number: int) -> str:
            return str(number)

    found = collect_handlers([kept])["promised"]
    assert (found.type.queue, found.type.max_concurrent, found.type.max_per_second) == ("video", 2, 5)
    assert (found.is_async, found.type.arg_types, found.function(3)) == (False, (int,), "3")
    assert await collect_handlers([Holder()])["promised"].function(4) == "4"
    assert collect_types([promised, kept]).keys() == {"promised"}

    with pytest.raises(ConfigurationError, match=r"must have its parameters: \(number\)"):

        @implements(promised)
        async def other(number: int, more: int) -> str:
            return ""

    with pytest.raises(ConfigurationError, match="kept is not a contract: decorate it with @contract"):
        implements(kept)
    with pytest.raises(ConfigurationError, match="max_concurrent must be at least 1"):
        implements(promised, max_concurrent=0)(lambda number: "")


@activity.defn
async def old(number: int) -> str:
    return str(number)


@activity.defn(name="old sync")
def old_sync() -> None: ...


class Old:
    @activity.defn
    def method(self, number: int) -> int:
        return number


@activity.defn(dynamic=True)
async def anything(args: Sequence[RawValue]) -> None: ...


def test_existing_activities() -> None:
    """existing_activities() makes handlers of activities, and leaves declared functions as they are."""
    module = module_of(old=old, old_sync=old_sync, Old=Old, holder=Old(), send=Emails("a").send)
    found = existing_activities(module, queue="video")
    types_found = collect_types(found)
    assert {name: declared.queue for name, declared in types_found.items()} == {
        "old": "video",
        "old sync": "video",
        "method": "video",
        "send": "default",
    }
    assert (types_found["old"].arg_types, types_found["old"].return_type) == ((int,), str)
    handlers = collect_handlers(found)
    assert all(handlers[name].type.is_activity for name in ("old", "old sync", "method"))
    assert handlers["method"].function(3) == 3
    assert collect_handlers([module]).keys() == {"send"}, "unasked they stay what they are"
    assert collect_handlers(existing_activities(Old().method)).keys() == {"method"}


@pytest.mark.parametrize("group", [list, tuple, iter, lambda found: {one.type.name: one for one in found}.values()])
def test_nested_sources(group: Any) -> None:
    """A list or another iterable among the sources stands for what is in it."""
    nested = [group(existing_activities(old, [old_sync])), [[module_of(emails=emails)]]]
    found = collect(nested)
    assert {"old", "old sync", "send"} <= found.handlers.keys()
    assert found.resources == (emails,)


def test_iterable_source() -> None:
    """An iterable object with declared methods is a source itself."""

    class Senders(NamedTuple):
        sender: str

        @delegated
        def reply(self, to: str) -> str:
            return f"{self.sender}>{to}"

    assert collect_handlers([Senders("a")])["reply"].function("b") == "a>b"


async def test_plugin_sources() -> None:
    """The plugin and the worker take lists among their sources, too."""
    sources = [Emails("a"), existing_activities(old)]
    assert await connect(sources, intercept=True, lazy=True)
    assert HttpWorker(sources)


def test_undelegated_activity() -> None:
    """An ordinary activity is refused with the name of the function that delegates it, and in a few words."""
    with pytest.raises(ConfigurationError, match=r"give existing_activities\(...\)") as refused:
        collect_handlers([old])
    assert len(str(refused.value)) < 150


@pytest.mark.parametrize("given", [module_of(x=1), module_of, Emails.__init__])
def test_no_activity(given: Any) -> None:
    """existing_activities() refuses an argument without an activity."""
    with pytest.raises(ConfigurationError, match="has no activity: nothing in it has @activity.defn or @delegated"):
        existing_activities(given)


def generator() -> Any:
    yield


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: delegated("name"), "options go by name"),
        (lambda: delegated(Emails), "is a class: decorate its methods"),
        (lambda: delegated(generator), "can't yield"),
        (lambda: delegated(staticmethod(module_of)), "put @staticmethod above"),
        (lambda: delegated(lambda *, key: key), "keyword-only"),
        (lambda: delegated(anything), "dynamic activity has no name"),
        (lambda: delegated(name=3)(lambda: None), "name must be a text"),
        (lambda: resource(generator), "an `async def` without parameters that yields"),
    ],
)
def test_bad_declaration(declare: Any, said: str) -> None:
    """An object that can't be declared is refused with the reason."""
    with pytest.raises(ConfigurationError, match=said):
        declare()


@pytest.mark.parametrize("decorator", [delegated, contract, implements])
def test_misspelt_option(decorator: Any) -> None:
    """A declaration with a misspelt option is refused, with its name."""
    with pytest.raises(TypeError, match="start_to_close_timout"):
        decorator(start_to_close_timout=3)
