//! The caller's half of a contract: the typed reference and the methods that make requests.

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens as _, quote};
use syn::ext::IdentExt as _;
use syn::{Type, TypePath};

use crate::contract::Contract;
use crate::naming::Root;
use crate::signature::{Argument, Method, peel};

/// The reference type, what it knows of its kind, and its methods.
pub(crate) fn expand(root: &Root, contract: &Contract) -> TokenStream {
    let Contract {
        name,
        visibility,
        reference,
        methods,
        ..
    } = contract;
    let Root { krate, .. } = root;
    let doc = format!(
        "A reference to a grain of the kind `{name}`: each method makes a request to it.\n\n\
         Making or cloning one causes no traffic; a grain is activated by its first message."
    );
    let descriptions = methods.iter().map(|method| description(root, method));
    let own_methods = own_methods(root, contract);
    let stubs = methods
        .iter()
        .enumerate()
        .map(|(number, method)| stub(root, contract, number, method));
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #visibility struct #reference(#krate::GrainRef);

        #[automatically_derived]
        impl #krate::Reference for #reference {
            const NAME: &'static str = #name;
            const METHODS: &'static [#krate::Method] = &[#(#descriptions),*];

            fn from_grain(grain: #krate::GrainRef) -> Self {
                Self(grain)
            }

            fn as_grain(&self) -> &#krate::GrainRef {
                &self.0
            }
        }

        // Clippy judges stubs as if somebody had thought of their names and parameters.
        #[allow(clippy::all, clippy::pedantic)]
        impl #reference {
            #own_methods
            #(#stubs)*
        }
    }
}

fn own_methods(root: &Root, contract: &Contract) -> TokenStream {
    let Root { krate, .. } = root;
    let Contract {
        name, visibility, ..
    } = contract;
    let kind = format!(
        "The kind `{name}` for a node to host, served by `T`; its grains are made by \
         `T::default()`."
    );
    let kind_with = format!(
        "The kind `{name}` for a node to host, served by `T`; its grains are made by `factory`, on \
         the shard where they will live."
    );
    quote! {
        #[doc = #kind]
        #visibility fn kind<T>() -> #krate::Kind
        where
            Self: #krate::Serve<T>,
            T: ::core::default::Default + 'static,
        {
            #krate::Kind::new::<Self, T>(|_| <T as ::core::default::Default>::default())
        }

        #[doc = #kind_with]
        #visibility fn kind_with<T, F>(factory: F) -> #krate::Kind
        where
            Self: #krate::Serve<T>,
            T: 'static,
            F: ::core::ops::Fn(&#krate::Ctx) -> T
                + ::core::marker::Send
                + ::core::marker::Sync
                + 'static,
        {
            #krate::Kind::new::<Self, T>(factory)
        }

        /// The key of the grain; empty if the reference was made with a key that no grain can have.
        #visibility fn key(&self) -> &str {
            self.0.key()
        }
    }
}

fn stub(root: &Root, contract: &Contract, number: usize, method: &Method) -> TokenStream {
    let Root { krate, generated } = root;
    let visibility = &contract.visibility;
    let Method {
        ident,
        attributes,
        reply,
        ..
    } = method;
    let number = Literal::usize_unsuffixed(number);
    let arguments_type = method.arguments_type();
    let has_doc = attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("doc"));
    let doc = (!has_doc).then(|| {
        let doc = format!("Makes a request for `{}`.", ident.unraw());
        quote!(#[doc = #doc])
    });
    let parameters = method.arguments.iter().map(|Argument { ident, ty, .. }| {
        if is_string(ty) {
            quote!(#ident: impl ::core::convert::Into<#ty>)
        } else {
            quote!(#ident: #ty)
        }
    });
    let values = method.arguments.iter().map(|Argument { ident, ty, .. }| {
        if is_string(ty) {
            quote!(::core::convert::Into::into(#ident))
        } else {
            quote!(#ident)
        }
    });
    quote! {
        #doc
        #(#attributes)*
        #visibility fn #ident(
            &self,
            #(#parameters),*
        ) -> #krate::Request<'_, #arguments_type, #reply> {
            #krate::Request::new(&self.0, #generated::MethodId(#number), (#(#values,)*))
        }
    }
}

fn description(root: &Root, method: &Method) -> TokenStream {
    let Root { krate, generated } = root;
    let name = method.ident.unraw().to_string();
    let arguments = method.arguments.iter().map(|argument| {
        let name = argument.ident.unraw().to_string();
        let ty = root.schema(&argument.ty);
        quote!(#generated::Argument { name: #name, ty: #ty })
    });
    let reply = root.schema(&method.reply);
    quote!(#krate::Method { name: #name, arguments: &[#(#arguments),*], reply: #reply })
}

fn is_string(ty: &Type) -> bool {
    match peel(ty) {
        Type::Path(TypePath { qself: None, path }) => STRING_PATHS.contains(
            &path
                .to_token_stream()
                .to_string()
                .replace(' ', "")
                .trim_start_matches("::"),
        ),
        _ => false,
    }
}

/// Spellings of the one type that stubs convert to.
const STRING_PATHS: [&str; 2] = ["String", "std::string::String"];
