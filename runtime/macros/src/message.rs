//! `#[message]`: rkyv's derives, and the schema that says what their bytes mean.
//!
//! Whatever would make rkyv write something that the schema does not tell is refused.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens as _, quote};
use syn::ext::IdentExt as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Data, DataEnum, DeriveInput, Error, Fields, Meta, TypePath};

use crate::errors::Errors;
use crate::naming::Root;

/// The item with derives and schema, or with errors that say why not.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = match syn::parse2::<DeriveInput>(item) {
        Ok(item) => item,
        Err(error) => {
            let message = "`#[message]` goes on a struct or an enum";
            return Error::new(error.span(), message).into_compile_error();
        }
    };
    if let Err(error) = check(options, &item) {
        let errors = error.into_compile_error();
        let item = without_rkyv(item);
        return quote!(#item #errors);
    }
    let root = Root::find();
    let Root { krate, generated } = &root;
    let ident = &item.ident;
    let ty = describe(&root, &item);
    quote! {
        #[derive(
            #generated::rkyv::Archive,
            #generated::rkyv::Serialize,
            #generated::rkyv::Deserialize,
        )]
        #[rkyv(crate = #generated::rkyv)]
        #item

        #[automatically_derived]
        impl #krate::Schema for #ident {
            const TYPE: &'static #krate::Type = &#ty;
        }
    }
}

fn check(options: TokenStream, item: &DeriveInput) -> Result<(), Error> {
    let mut errors = Errors::default();
    if !options.is_empty() {
        errors.add(Error::new_spanned(options, "`#[message]` takes no options"));
    }
    if !item.generics.params.is_empty() {
        let message = "a message has no type parameters and no lifetimes: \
                       both sides must know what the bytes are";
        errors.add(Error::new_spanned(&item.generics, message));
    }
    for attribute in &item.attrs {
        errors.keep(check_on_type(attribute));
    }
    match &item.data {
        Data::Struct(data) => check_fields(&mut errors, item, &data.fields),
        Data::Enum(data) => check_variants(&mut errors, item, data),
        Data::Union(data) => {
            let message = "a message is a struct or an enum: bytes do not tell what a union holds";
            errors.add(Error::new_spanned(data.union_token, message));
        }
    }
    errors.into_result(())
}

fn check_variants(errors: &mut Errors, item: &DeriveInput, data: &DataEnum) {
    if data.variants.is_empty() {
        let message = "a message of an enum without variants could never be sent";
        errors.add(Error::new_spanned(&item.ident, message));
    }
    for variant in &data.variants {
        variant
            .attrs
            .iter()
            .for_each(|attribute| check_on_part(errors, attribute));
        if let Some((_, value)) = &variant.discriminant {
            let message = "a discriminant would be written, but is not in the schema: \
                           variants of a message are numbered by their order";
            errors.add(Error::new_spanned(value, message));
        }
        check_fields(errors, item, &variant.fields);
    }
}

fn check_fields(errors: &mut Errors, item: &DeriveInput, fields: &Fields) {
    for field in fields {
        let attributes = field.attrs.iter();
        attributes.for_each(|attribute| check_on_part(errors, attribute));
        NotWithin {
            whole: &item.ident,
            errors,
        }
        .visit_type(&field.ty);
    }
}

/// Finds a message in its own fields. Longer cycles are found by the compiler, in its own words.
struct NotWithin<'a> {
    whole: &'a Ident,
    errors: &'a mut Errors,
}

impl<'ast> Visit<'ast> for NotWithin<'_> {
    fn visit_type_path(&mut self, path: &'ast TypePath) {
        if path.path.is_ident(self.whole) || path.path.is_ident("Self") {
            let message = "a message does not contain itself: the depth of what arrives is \
                           bounded; make a list of the parts, which name each other by position";
            self.errors.add(Error::new_spanned(path, message));
        }
        visit::visit_type_path(self, path);
    }
}

fn check_on_type(attribute: &Attribute) -> Result<(), Error> {
    if attribute.path().is_ident("rkyv") {
        return attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("derive") && !meta.path.is_ident("compare") {
                return Err(meta.error(
                    "on a message `#[rkyv(..)]` takes only `derive(..)` and `compare(..)`: others \
                     change bytes behind the schema's back",
                ));
            }
            let traits;
            syn::parenthesized!(traits in meta.input);
            traits.parse::<TokenStream>().map(|_| ())
        });
    }
    if mentions_rkyv(attribute) {
        Err(refused(attribute))
    } else {
        Ok(())
    }
}

fn check_on_part(errors: &mut Errors, attribute: &Attribute) {
    if attribute.path().is_ident("rkyv") || mentions_rkyv(attribute) {
        errors.add(refused(attribute));
    }
}

fn refused(attribute: &Attribute) -> Error {
    let message = "`#[rkyv(..)]` here would change bytes behind the schema's back";
    Error::new_spanned(attribute, message)
}

/// Whether an attribute becomes one of rkyv's under some `cfg`.
fn mentions_rkyv(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else {
        return false;
    };
    list.path.is_ident("cfg_attr")
        && list.tokens.clone().into_iter().any(|token| match token {
            TokenTree::Ident(ident) => ident == "rkyv",
            _ => false,
        })
}

fn describe(root: &Root, item: &DeriveInput) -> TokenStream {
    let Root { krate, generated } = root;
    let name = item.ident.unraw().to_string();
    match &item.data {
        Data::Struct(data) => {
            let fields = describe_fields(root, &data.fields);
            quote!(#krate::Type::Struct { name: #name, fields: &[#fields] })
        }
        Data::Enum(data) => {
            let variants = data.variants.iter().map(|variant| {
                let name = variant.ident.unraw().to_string();
                let conditions = conditions(&variant.attrs);
                let fields = describe_fields(root, &variant.fields);
                quote!(#(#conditions)* #generated::Variant { name: #name, fields: &[#fields] })
            });
            quote!(#krate::Type::Enum { name: #name, variants: &[#(#variants),*] })
        }
        Data::Union(_) => unreachable!("unions are refused before"),
    }
}

fn describe_fields(root: &Root, fields: &Fields) -> TokenStream {
    let generated = &root.generated;
    let fields = fields.iter().enumerate().map(|(position, field)| {
        let name = match &field.ident {
            Some(ident) => ident.unraw().to_string(),
            None => position.to_string(),
        };
        let conditions = conditions(&field.attrs);
        let ty = root.schema(&field.ty);
        quote!(#(#conditions)* #generated::Field { name: #name, ty: #ty })
    });
    quote!(#(#fields),*)
}

/// The attributes that decide whether a part exists at all.
fn conditions(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
}

/// The item as it can stand without rkyv's derives.
fn without_rkyv(mut item: DeriveInput) -> TokenStream {
    let strip = |attributes: &mut Vec<Attribute>| {
        attributes.retain(|a| !a.path().is_ident("rkyv") && !mentions_rkyv(a));
    };
    let strip_fields = |fields: &mut Fields| {
        fields.iter_mut().for_each(|field| strip(&mut field.attrs));
    };
    strip(&mut item.attrs);
    match &mut item.data {
        Data::Struct(data) => strip_fields(&mut data.fields),
        Data::Enum(data) => {
            for variant in &mut data.variants {
                strip(&mut variant.attrs);
                strip_fields(&mut variant.fields);
            }
        }
        Data::Union(_) => {}
    }
    item.into_token_stream()
}
