"""The naive oracle: contract sections 1 to 6, to be read beside the contract.

It shares no code and no technique with the Rust core: it reads the whole document into a tree, then
judges the tree. It is slow, and it is meant to be: every property and fuzz test asks it what the
right answer is.
"""
