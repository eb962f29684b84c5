//! Who owns a lock, and what becomes of it.
