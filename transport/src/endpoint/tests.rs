//! What cannot be provoked from outside.
