//! Control records: everything about a tick that is not a function of its input.
