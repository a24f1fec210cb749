//! Keys of grains for names of any length.
//!
//! A key has at most 256 bytes, and what a log calls a client or a path may have more. A name of up
//! to [`WHOLE_MAX`] bytes is its own key. Of a longer one the key is its beginning and a hash of
//! all of it; such a key is always longer than [`WHOLE_MAX`], so it is no other name's own.

use std::borrow::Cow;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// The longest name that is a key as it is, in bytes.
const WHOLE_MAX: usize = 252;

/// What is kept of a longer name: room for `~` and 32 hexadecimal digits is left.
const BEGINNING_MAX: usize = 256 - 1 - 32;

/// The key of the grain that counts this name.
pub(crate) fn of(name: &str) -> Cow<'_, str> {
    if name.len() <= WHOLE_MAX {
        return Cow::Borrowed(name);
    }
    let beginning = &name[..name.floor_char_boundary(BEGINNING_MAX)];
    let mut hasher = SipHasher24::new();
    hasher.write(name.as_bytes());
    Cow::Owned(format!("{beginning}~{:032x}", hasher.finish128().as_u128()))
}

/// The name, if its key does not say it.
pub(crate) fn unsaid(name: &str, key: &str) -> Option<String> {
    (name != key).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_its_own_key() {
        for len in [1, 100, WHOLE_MAX] {
            let name = "x".repeat(len);
            assert_eq!(of(&name), name);
            assert_eq!(unsaid(&name, &of(&name)), None);
        }
    }

    #[test]
    fn a_long_name_has_a_key_of_allowed_length_that_is_nobody_elses() {
        for len in [WHOLE_MAX + 1, 256, 257, 1 << 20] {
            for letter in ["x", "\u{e4}", "\u{20ac}", "\u{1f33e}"] {
                let name = letter.repeat(len.div_ceil(letter.len()));
                let key = of(&name);
                assert!(
                    (WHOLE_MAX + 1..=256).contains(&key.len()),
                    "{} bytes",
                    key.len()
                );
                assert!(name.starts_with(key.rsplit_once('~').unwrap().0));
                assert_eq!(unsaid(&name, &key).as_ref(), Some(&name));
                assert_ne!(key, of(&format!("{name}.")));
                assert_ne!(key, of(&key), "a key as a name has another key");
            }
        }
    }
}
