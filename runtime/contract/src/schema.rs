//! The structure of messages, described in constants, and its hash.
//!
//! The hash decides whether two builds may talk about a kind, so it covers what changes bytes or
//! their meaning: field and variant names, types and order. It leaves out the names of structs
//! and enums themselves: renaming a type changes neither. The description also serves to turn
//! messages into JSON and back.
//!
//! Only types whose archives are plain trees have a schema: no shared pointers, no recursion.

use std::time::Duration;

use bytes::Bytes;
use teff_wire::Fingerprint;

/// The structure of a type that may travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Type {
    /// `()`
    Unit,
    /// `bool`
    Bool,
    /// An unsigned integer of this many bits.
    Unsigned(u8),
    /// A signed integer of this many bits.
    Signed(u8),
    /// A floating-point number of this many bits.
    Float(u8),
    /// `char`
    Char,
    /// `String`
    Text,
    /// `Duration`
    Duration,
    /// `Option<T>`
    Option(&'static Self),
    /// `Vec<T>`
    List(&'static Self),
    /// `Box<T>`
    Boxed(&'static Self),
    /// `[T; N]`
    Array(&'static Self, usize),
    /// `(A, B, ..)`
    Tuple(&'static [&'static Self]),
    /// `Result<T, E>`
    Result(&'static Self, &'static Self),
    /// A struct with `#[message]`.
    Struct {
        /// Name of the type, for people; not part of the hash.
        name: &'static str,
        /// Fields in the order of declaration.
        fields: &'static [Field],
    },
    /// An enum with `#[message]`.
    Enum {
        /// Name of the type, for people; not part of the hash.
        name: &'static str,
        /// Variants in the order of declaration.
        variants: &'static [Variant],
    },
}

/// A field of a struct or variant. Tuple fields are named by their position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: &'static Type,
}

/// A variant of an enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// Its fields, none for a unit variant.
    pub fields: &'static [Field],
}

/// An argument of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name in the contract, for people; not part of the hash.
    pub name: &'static str,
    /// Its type.
    pub ty: &'static Type,
}

/// A method of a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub arguments: &'static [Argument],
    /// What it answers.
    pub reply: &'static Type,
}

/// A type with a structural description. Implemented by `#[message]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel in a message",
    note = "put `#[message]` on it if it is your own struct or enum; messages are made of \
            integers, floats, `bool`, `char`, `String`, `Duration`, `Option`, `Vec`, `Box`, \
            `Result`, arrays, tuples and `#[message]` types"
)]
pub trait Schema {
    /// The description.
    const TYPE: &'static Type;
}

/// The hash of one type's structure.
pub const fn type_fingerprint(ty: &Type) -> Fingerprint {
    Fingerprint(hash_type(OFFSET, ty))
}

/// The hash of a contract: its methods in order, each with argument and reply types.
pub const fn contract_fingerprint(methods: &[Method]) -> Fingerprint {
    let mut hash = hash_number(OFFSET, methods.len() as u64);
    let mut i = 0;
    while i < methods.len() {
        hash = hash_text(hash, methods[i].name);
        hash = hash_number(hash, methods[i].arguments.len() as u64);
        let mut j = 0;
        while j < methods[i].arguments.len() {
            hash = hash_type(hash, methods[i].arguments[j].ty);
            j += 1;
        }
        hash = hash_type(hash, methods[i].reply);
        i += 1;
    }
    Fingerprint(hash)
}

const fn hash_type(hash: u64, ty: &Type) -> u64 {
    match ty {
        Type::Unit => hash_number(hash, 1),
        Type::Bool => hash_number(hash, 2),
        Type::Unsigned(bits) => hash_number(hash_number(hash, 3), *bits as u64),
        Type::Signed(bits) => hash_number(hash_number(hash, 4), *bits as u64),
        Type::Float(bits) => hash_number(hash_number(hash, 5), *bits as u64),
        Type::Char => hash_number(hash, 6),
        Type::Text => hash_number(hash, 7),
        Type::Duration => hash_number(hash, 8),
        Type::Option(inner) => hash_type(hash_number(hash, 9), inner),
        Type::List(inner) => hash_type(hash_number(hash, 10), inner),
        Type::Boxed(inner) => hash_type(hash_number(hash, 11), inner),
        Type::Array(inner, len) => {
            hash_type(hash_number(hash_number(hash, 12), *len as u64), inner)
        }
        Type::Tuple(members) => {
            let mut hash = hash_number(hash_number(hash, 13), members.len() as u64);
            let mut i = 0;
            while i < members.len() {
                hash = hash_type(hash, members[i]);
                i += 1;
            }
            hash
        }
        Type::Result(ok, err) => hash_type(hash_type(hash_number(hash, 14), ok), err),
        Type::Struct { fields, .. } => hash_fields(hash_number(hash, 15), fields),
        Type::Enum { variants, .. } => {
            let mut hash = hash_number(hash_number(hash, 16), variants.len() as u64);
            let mut i = 0;
            while i < variants.len() {
                hash = hash_fields(hash_text(hash, variants[i].name), variants[i].fields);
                i += 1;
            }
            hash
        }
    }
}

const fn hash_fields(hash: u64, fields: &[Field]) -> u64 {
    let mut hash = hash_number(hash, fields.len() as u64);
    let mut i = 0;
    while i < fields.len() {
        hash = hash_type(hash_text(hash, fields[i].name), fields[i].ty);
        i += 1;
    }
    hash
}

// Lengths go in before contents, so that no two structures run together into the same bytes.
const fn hash_text(hash: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut hash = hash_number(hash, bytes.len() as u64);
    let mut i = 0;
    while i < bytes.len() {
        hash = hash_byte(hash, bytes[i]);
        i += 1;
    }
    hash
}

const fn hash_number(hash: u64, number: u64) -> u64 {
    let bytes = number.to_le_bytes();
    let mut hash = hash;
    let mut i = 0;
    while i < bytes.len() {
        hash = hash_byte(hash, bytes[i]);
        i += 1;
    }
    hash
}

// FNV-1a: a hash that runs in constants. It guards against mistakes, not against attackers; what
// a peer sends is validated whatever fingerprint it claims.
const fn hash_byte(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

macro_rules! plain {
    ($($ty:ty => $description:expr;)*) => {$(
        impl Schema for $ty {
            const TYPE: &'static Type = &$description;
        }
    )*};
}

plain! {
    () => Type::Unit;
    bool => Type::Bool;
    u8 => Type::Unsigned(8);
    u16 => Type::Unsigned(16);
    u32 => Type::Unsigned(32);
    u64 => Type::Unsigned(64);
    u128 => Type::Unsigned(128);
    i8 => Type::Signed(8);
    i16 => Type::Signed(16);
    i32 => Type::Signed(32);
    i64 => Type::Signed(64);
    i128 => Type::Signed(128);
    f32 => Type::Float(32);
    f64 => Type::Float(64);
    char => Type::Char;
    String => Type::Text;
    Duration => Type::Duration;
}

impl<T: Schema> Schema for Option<T> {
    const TYPE: &'static Type = &Type::Option(T::TYPE);
}

impl<T: Schema> Schema for Vec<T> {
    const TYPE: &'static Type = {
        // A list of four thousand million of them would be a frame of a few bytes, and take the
        // receiver as long to read as a real one.
        assert!(
            size_of::<T>() > 0,
            "send the number of elements instead of a list of nothing"
        );
        &Type::List(T::TYPE)
    };
}

/// The same on the wire as a `Vec<u8>`. Cloning one copies nothing, so a large payload that goes to
/// many, or is kept as well, is written once: into the buffer that leaves.
impl Schema for Bytes {
    const TYPE: &'static Type = Vec::<u8>::TYPE;
}

impl<T: Schema> Schema for Box<T> {
    const TYPE: &'static Type = &Type::Boxed(T::TYPE);
}

impl<T: Schema, const N: usize> Schema for [T; N] {
    const TYPE: &'static Type = &Type::Array(T::TYPE, N);
}

impl<T: Schema, E: Schema> Schema for Result<T, E> {
    const TYPE: &'static Type = &Type::Result(T::TYPE, E::TYPE);
}

macro_rules! tuples {
    ($(($($member:ident)+))*) => {$(
        impl<$($member: Schema),+> Schema for ($($member,)+) {
            const TYPE: &'static Type = &Type::Tuple(&[$($member::TYPE),+]);
        }
    )*};
}

tuples! {
    (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn fields(fields: &'static [Field]) -> Type {
        Type::Struct { name: "T", fields }
    }

    const A_U32: Field = Field {
        name: "a",
        ty: &Type::Unsigned(32),
    };
    const B_U32: Field = Field {
        name: "b",
        ty: &Type::Unsigned(32),
    };
    const A_U64: Field = Field {
        name: "a",
        ty: &Type::Unsigned(64),
    };

    #[test]
    fn name_type_and_order_of_fields_change_the_hash() {
        let base = type_fingerprint(&fields(&[A_U32, B_U32]));
        assert_ne!(base, type_fingerprint(&fields(&[B_U32, A_U32])));
        assert_ne!(base, type_fingerprint(&fields(&[A_U64, B_U32])));
        assert_ne!(base, type_fingerprint(&fields(&[A_U32])));
        assert_eq!(
            base,
            type_fingerprint(&Type::Struct {
                name: "U",
                fields: &[A_U32, B_U32]
            })
        );
    }

    #[test]
    fn method_names_and_types_change_the_contract() {
        let method = Method {
            name: "add",
            arguments: &[Argument {
                name: "n",
                ty: &Type::Unsigned(32),
            }],
            reply: &Type::Unit,
        };
        let base = contract_fingerprint(&[method]);
        assert_ne!(
            base,
            contract_fingerprint(&[Method {
                name: "sub",
                ..method
            }])
        );
        assert_ne!(
            base,
            contract_fingerprint(&[Method {
                reply: &Type::Bool,
                ..method
            }])
        );
        assert_ne!(
            base,
            contract_fingerprint(&[Method {
                arguments: &[],
                ..method
            }])
        );
        assert_ne!(base, contract_fingerprint(&[method, method]));
    }

    #[test]
    fn nesting_is_not_confused_with_sequence() {
        let nested = <((u8, u8), u8) as Schema>::TYPE;
        let flat = <(u8, u8, u8) as Schema>::TYPE;
        let other = <(u8, (u8, u8)) as Schema>::TYPE;
        assert_ne!(type_fingerprint(nested), type_fingerprint(flat));
        assert_ne!(type_fingerprint(nested), type_fingerprint(other));
        assert_ne!(
            type_fingerprint(<Option<u8>>::TYPE),
            type_fingerprint(<Vec<u8>>::TYPE)
        );
    }

    #[test]
    fn the_hash_is_the_same_in_every_build() {
        assert_eq!(
            type_fingerprint(<Vec<(u64, String)>>::TYPE),
            Fingerprint(0xb437_9b17_5438_4cc4)
        );
    }
}
