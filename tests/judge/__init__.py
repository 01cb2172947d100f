"""The judge against the contract, its oracle and hostile input."""
