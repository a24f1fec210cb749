//! Two builds agree on a contract exactly if their fingerprints are equal: whatever changes bytes
//! or their meaning changes the fingerprint, and nothing else does.

use std::collections::HashSet;

use teff_contract::schema::{contract_fingerprint, type_fingerprint};
use teff_contract::{Reference, Schema, Type};
use teff_wire::Fingerprint;

/// A build of the program: its own idea of the contract `Ledger`.
macro_rules! build {
    ($name:ident: $($items:item)*) => {
        mod $name {
            #[allow(unused_imports, reason = "not every build has its own message")]
            use teff_contract::{Archived, Ctx, grain, message};

            $($items)*

            pub(super) const FINGERPRINT: teff_wire::Fingerprint =
                <LedgerRef as teff_contract::Reference>::FINGERPRINT;
        }
    };
}

build! { base:
    #[message] pub(super) struct Entry { pub(super) account: u32, pub(super) cents: i64 }
    #[message] pub(super) enum Outcome { Booked { total: i64 }, Refused(String), Unknown }
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: Entry) -> Outcome;
        fn close(&mut self);
    }
}

build! { same_but_other_names_of_types_and_arguments:
    #[message] pub(super) struct Line { pub(super) account: u32, pub(super) cents: i64 }
    #[message] pub(super) enum Answer { Booked { total: i64 }, Refused(String), Unknown }
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, line: Line) -> Answer;
        fn close(&mut self);
    }
}

build! { same_but_async_with_context_and_in_place:
    #[grain] pub(super) trait Ledger {
        async fn post(
            &mut self,
            ctx: &Ctx,
            entry: &Archived<super::base::Entry>,
        ) -> super::base::Outcome;
        async fn close(&mut self) -> ();
    }
}

build! { same_as_an_impl_block:
    pub(super) struct Ledger;
    #[grain] impl Ledger {
        fn post(&mut self, _entry: super::base::Entry) -> super::base::Outcome {
            super::base::Outcome::Unknown
        }
        fn close(&mut self) {}
    }
}

build! { field_name:
    #[message] pub(super) struct Entry { pub(super) konto: u32, pub(super) cents: i64 }
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: Entry) -> super::base::Outcome;
        fn close(&mut self);
    }
}

build! { field_type:
    #[message] pub(super) struct Entry { pub(super) account: i32, pub(super) cents: i64 }
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: Entry) -> super::base::Outcome;
        fn close(&mut self);
    }
}

build! { field_order:
    #[message] pub(super) struct Entry { pub(super) cents: i64, pub(super) account: u32 }
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: Entry) -> super::base::Outcome;
        fn close(&mut self);
    }
}

build! { field_added:
    #[message] pub(super) struct Entry {
        pub(super) account: u32, pub(super) cents: i64, pub(super) by: u8
    }
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: Entry) -> super::base::Outcome;
        fn close(&mut self);
    }
}

build! { tuple_struct:
    #[message] pub(super) struct Entry(pub(super) u32, pub(super) i64);
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: Entry) -> super::base::Outcome;
        fn close(&mut self);
    }
}

build! { variant_name:
    #[message] pub(super) enum Outcome { Posted { total: i64 }, Refused(String), Unknown }
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: super::base::Entry) -> Outcome;
        fn close(&mut self);
    }
}

build! { variant_order:
    #[message] pub(super) enum Outcome { Booked { total: i64 }, Unknown, Refused(String) }
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: super::base::Entry) -> Outcome;
        fn close(&mut self);
    }
}

build! { variant_field:
    #[message] pub(super) enum Outcome { Booked { total: u64 }, Refused(String), Unknown }
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: super::base::Entry) -> Outcome;
        fn close(&mut self);
    }
}

build! { method_name:
    #[grain] pub(super) trait Ledger {
        fn book(&mut self, entry: super::base::Entry) -> super::base::Outcome;
        fn close(&mut self);
    }
}

build! { method_order:
    #[grain] pub(super) trait Ledger {
        fn close(&mut self);
        fn post(&mut self, entry: super::base::Entry) -> super::base::Outcome;
    }
}

build! { method_removed:
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: super::base::Entry) -> super::base::Outcome;
    }
}

build! { argument_type:
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: Box<super::base::Entry>) -> super::base::Outcome;
        fn close(&mut self);
    }
}

build! { argument_added:
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: super::base::Entry, again: bool) -> super::base::Outcome;
        fn close(&mut self);
    }
}

build! { reply:
    #[grain] pub(super) trait Ledger {
        fn post(&mut self, entry: super::base::Entry) -> Option<super::base::Outcome>;
        fn close(&mut self);
    }
}

#[test]
fn builds_that_differ_in_nothing_that_travels_agree() {
    assert_eq!(
        base::FINGERPRINT,
        same_but_other_names_of_types_and_arguments::FINGERPRINT
    );
    assert_eq!(
        base::FINGERPRINT,
        same_but_async_with_context_and_in_place::FINGERPRINT
    );
    assert_eq!(base::FINGERPRINT, same_as_an_impl_block::FINGERPRINT);
}

#[test]
fn builds_that_differ_in_what_travels_disagree() {
    let builds = [
        ("base", base::FINGERPRINT),
        ("field name", field_name::FINGERPRINT),
        ("field type", field_type::FINGERPRINT),
        ("field order", field_order::FINGERPRINT),
        ("field added", field_added::FINGERPRINT),
        ("tuple struct", tuple_struct::FINGERPRINT),
        ("variant name", variant_name::FINGERPRINT),
        ("variant order", variant_order::FINGERPRINT),
        ("variant field", variant_field::FINGERPRINT),
        ("method name", method_name::FINGERPRINT),
        ("method order", method_order::FINGERPRINT),
        ("method removed", method_removed::FINGERPRINT),
        ("argument type", argument_type::FINGERPRINT),
        ("argument added", argument_added::FINGERPRINT),
        ("reply", reply::FINGERPRINT),
    ];
    let mut seen = HashSet::new();
    for (what, fingerprint) in builds {
        assert!(seen.insert(fingerprint), "{what} makes no difference");
    }
}

#[test]
fn a_contract_has_the_same_fingerprint_in_every_build() {
    // Computed by hand (in Python, from the description in `schema`), not by this crate.
    assert_eq!(base::FINGERPRINT, Fingerprint(0x63b2_3a5a_ebef_df40));
    assert_eq!(
        base::FINGERPRINT,
        contract_fingerprint(base::LedgerRef::METHODS)
    );
}

#[test]
fn a_schema_says_what_the_type_says() {
    let Type::Struct { name, fields } = base::Entry::TYPE else {
        panic!("an entry is a struct");
    };
    assert_eq!(*name, "Entry");
    let fields: Vec<_> = fields.iter().map(|field| (field.name, *field.ty)).collect();
    assert_eq!(
        fields,
        [("account", Type::Unsigned(32)), ("cents", Type::Signed(64))]
    );

    let Type::Enum { name, variants } = base::Outcome::TYPE else {
        panic!("an outcome is an enum");
    };
    assert_eq!(*name, "Outcome");
    let variants: Vec<_> = variants
        .iter()
        .map(|variant| {
            let fields = variant.fields.iter().map(|field| (field.name, *field.ty));
            (variant.name, fields.collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(
        variants,
        [
            ("Booked", vec![("total", Type::Signed(64))]),
            ("Refused", vec![("0", Type::Text)]),
            ("Unknown", vec![]),
        ]
    );
}

#[test]
fn a_part_that_is_configured_away_is_not_in_the_schema() {
    assert_eq!(
        type_fingerprint(conditional::Part::TYPE),
        type_fingerprint(conditional::Plain::TYPE)
    );
    assert_eq!(
        type_fingerprint(conditional::Choice::TYPE),
        type_fingerprint(conditional::PlainChoice::TYPE)
    );
}

mod conditional {
    use teff_contract::message;

    #[message]
    pub(super) struct Part {
        kept: u8,
        #[cfg(any())]
        gone: u8,
    }

    #[message]
    pub(super) struct Plain {
        kept: u8,
    }

    #[message]
    pub(super) enum Choice {
        Kept,
        #[cfg(any())]
        Gone,
        Last {
            #[cfg(not(any()))]
            kept: u8,
            #[cfg(any())]
            gone: u8,
        },
    }

    #[message]
    pub(super) enum PlainChoice {
        Kept,
        Last { kept: u8 },
    }
}
