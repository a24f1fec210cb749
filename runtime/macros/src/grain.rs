//! `#[grain]`: the item as it was, and the two halves of its contract.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote};
use syn::{Error, Item};

use crate::contract::Contract;
use crate::naming::Root;
use crate::{dispatch, stubs};

/// The item, followed by what the attribute adds, or by errors that say why it cannot.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = match syn::parse2::<Item>(item) {
        Ok(item) => item,
        Err(error) => return error.into_compile_error(),
    };
    // The item stays in any case, so that its uses do not fail as well.
    let added = match Contract::new(options, &item) {
        Ok(contract) => halves(&contract),
        Err(error) => Error::into_compile_error(error),
    };
    let allow = match &item {
        // Callers never hold such a future: the dispatch does, on the shard of the grain.
        Item::Trait(_) => quote!(#[allow(async_fn_in_trait)]),
        // What a method of a contract must be, even if it could do with less.
        Item::Impl(_) => quote! {
            #[allow(clippy::needless_pass_by_value, clippy::needless_pass_by_ref_mut)]
            #[allow(clippy::future_not_send)]
        },
        _ => quote!(),
    };
    let item = item.into_token_stream();
    quote! {
        #allow
        #item
        #added
    }
}

fn halves(contract: &Contract) -> TokenStream {
    let root = Root::find();
    let stubs = stubs::expand(&root, contract);
    let dispatch = dispatch::expand(&root, contract);
    quote! {
        #stubs
        #dispatch
    }
}
