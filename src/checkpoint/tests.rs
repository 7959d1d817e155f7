//! A job without threads: what is stored comes back, whatever is cut off or flipped.
