//! What cannot be a contract or a message is refused in words that say what to do instead.
//!
//! After a change of words: `TRYBUILD=overwrite cargo test -p teff-contract --test ui`.

#[test]
fn what_cannot_travel_is_refused_with_a_cure() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
