//! Names in generated code: where the contract crate is, what a kind and its reference are called.
//!
//! Everything that generated code uses is reachable from one root, so a user needs no crate in
//! the manifest but the one that the attribute came from.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::parse::Parser as _;
use syn::spanned::Spanned as _;
use syn::{Error, LitStr, Result, Type};

/// What the paths in generated code start with.
pub(crate) struct Root {
    /// The contract crate, or the one that re-exports all of it.
    pub(crate) krate: TokenStream,
    /// Its module for what is not for people.
    pub(crate) generated: TokenStream,
}

impl Root {
    /// Looks at the manifest of the crate that is being compiled.
    pub(crate) fn find() -> Self {
        let name = CANDIDATES
            .into_iter()
            .find_map(|name| match crate_name(name).ok()? {
                // Not `crate`: its tests and examples are crates of their own. The library can
                // say `extern crate self as teff`.
                FoundCrate::Itself => Some(name.replace('-', "_")),
                FoundCrate::Name(name) => Some(name),
            })
            .unwrap_or_else(|| String::from("teff"));
        let name = Ident::new_raw(&name, Span::call_site());
        Self {
            krate: quote!(::#name),
            generated: quote!(::#name::generated),
        }
    }

    /// The schema of a type, with the blame on the type where it has none.
    pub(crate) fn schema(&self, ty: &Type) -> TokenStream {
        let krate = &self.krate;
        quote_spanned!(ty.span()=> <#ty as #krate::Schema>::TYPE)
    }
}

/// The reference to grains of `contract`.
pub(crate) fn reference(contract: &Ident) -> Ident {
    format_ident!("{}Ref", contract.unraw(), span = contract.span())
}

/// The name of the kind: as the options say, or else as the contract is called.
pub(crate) fn kind(options: TokenStream, contract: &Ident) -> Result<String> {
    let mut name = None::<LitStr>;
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("name") {
            return Err(meta.error("unknown option, `#[grain]` takes only `name = \"..\"`"));
        }
        if name.replace(meta.value()?.parse()?).is_some() {
            return Err(meta.error("the kind has two names, keep one"));
        }
        Ok(())
    });
    parser.parse2(options)?;
    let Some(name) = name else {
        return Ok(contract.unraw().to_string());
    };
    match name.value() {
        text if text.is_empty() => Err(Error::new(name.span(), "the name of a kind is not empty")),
        text if text.len() > KIND_NAME_MAX => {
            let message = format!("the name of a kind has at most {KIND_NAME_MAX} bytes");
            Err(Error::new(name.span(), message))
        }
        text => Ok(text),
    }
}

/// Whoever depends on the first usually depends on the second through it only.
const CANDIDATES: [&str; 2] = ["teff", "teff-contract"];

/// In bytes, as the first exchange on a link has room for.
const KIND_NAME_MAX: usize = 256;
