"""Block Jacobians of compositions of layers, by hand and by machine.

``parse``, ``derive`` and ``check`` do everything; each is loaded when it is first used, so that importing the package costs nothing.

>>> from jacobian_chain import derive, parse
>>> f = parse("L2(L1(x, θ1), θ2)")
>>> print(derive(f, wrt="θ"))
J_θ f = ( J_x₂ L₂ · J_θ₁ L₁  │  J_θ₂ L₂ )
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jacobian_chain.errors import ChainError as ChainError
    from jacobian_chain.interface import Composition as Composition
    from jacobian_chain.interface import check as check
    from jacobian_chain.interface import derive as derive
    from jacobian_chain.interface import parse as parse
    from jacobian_chain.jacobian import Block as Block
    from jacobian_chain.jacobian import Jacobian as Jacobian
    from jacobian_chain.verdict import Verdict as Verdict

__version__ = "0.1.0"
__all__ = ["Block", "ChainError", "Composition", "Jacobian", "Verdict", "check", "derive", "parse"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = {"Block": "jacobian", "ChainError": "errors", "Jacobian": "jacobian", "Verdict": "checking"}.get(name, "interface")
    module = import_module(f"jacobian_chain.{home}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
