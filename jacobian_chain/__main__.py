"""``python -m jacobian_chain`` is ``jacobian-chain``."""

from jacobian_chain.cli import main

main()
