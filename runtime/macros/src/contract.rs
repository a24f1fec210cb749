//! A contract as `#[grain]` finds it: a trait, or the methods of an `impl` block.

use proc_macro2::{Ident, Span, TokenStream};
use syn::spanned::Spanned as _;
use syn::{
    Error, ImplItem, Item, ItemImpl, ItemTrait, Signature, TraitItem, Type, TypePath, Visibility,
    parse_quote,
};

use crate::errors::Errors;
use crate::naming;
use crate::signature::{Method, is_exclusive, peel};

/// Everything that stubs and dispatch are written from.
pub(crate) struct Contract {
    /// Name of the kind.
    pub(crate) name: String,
    /// As visible as the reference will be.
    pub(crate) visibility: Visibility,
    /// Name of the reference.
    pub(crate) reference: Ident,
    pub(crate) methods: Vec<Method>,
    pub(crate) grain: Grain,
}

/// Who can fulfil the contract.
pub(crate) enum Grain {
    /// Every type with this trait.
    Any(Ident),
    /// This type.
    Just(Box<Type>),
}

impl Contract {
    /// Checks an item that has `#[grain]` on it.
    pub(crate) fn new(options: TokenStream, item: &Item) -> Result<Self, Error> {
        match item {
            Item::Trait(item) => Self::of_trait(options, item),
            Item::Impl(item) => Self::of_impl(options, item),
            item => Err(Error::new_spanned(
                item,
                "`#[grain]` goes on a trait or an `impl` block",
            )),
        }
    }

    fn of_trait(options: TokenStream, item: &ItemTrait) -> Result<Self, Error> {
        let mut errors = Errors::default();
        if !item.generics.params.is_empty() {
            let message = "a contract has no type parameters: its kind has one name, \
                           and every node must know its types";
            errors.add(Error::new_spanned(&item.generics, message));
        }
        let mut methods = Vec::new();
        for member in &item.items {
            match member {
                TraitItem::Fn(method) if has_exclusive_self(&method.sig) => {
                    methods.extend(errors.keep(Method::new(&method.attrs, &method.sig)));
                }
                TraitItem::Fn(method) => errors.add(Error::new_spanned(
                    &method.sig,
                    "a method of a contract takes `&mut self`: one message at a time",
                )),
                other => errors.add(Error::new_spanned(
                    other,
                    "a contract has only methods: nothing else of a grain can be reached from afar",
                )),
            }
        }
        let name = errors
            .keep(naming::kind(options, &item.ident))
            .unwrap_or_default();
        let contract = Self {
            name,
            visibility: item.vis.clone(),
            reference: naming::reference(&item.ident),
            methods,
            grain: Grain::Any(item.ident.clone()),
        };
        contract.checked(errors, item.ident.span())
    }

    fn of_impl(options: TokenStream, item: &ItemImpl) -> Result<Self, Error> {
        if let Some((_, path, _)) = &item.trait_ {
            let message = "put `#[grain]` on the trait itself; it needs nothing here";
            return Err(Error::new_spanned(path, message));
        }
        let ident = type_name(&item.self_ty)?;
        let mut errors = Errors::default();
        if !item.generics.params.is_empty() {
            let message = "a grain has no type parameters: its kind has one name";
            errors.add(Error::new_spanned(&item.generics, message));
        }
        let mut methods = Vec::new();
        for member in &item.items {
            if let ImplItem::Fn(method) = member
                && has_exclusive_self(&method.sig)
            {
                methods.extend(errors.keep(Method::new(&method.attrs, &method.sig)));
            }
        }
        let name = errors
            .keep(naming::kind(options, ident))
            .unwrap_or_default();
        let contract = Self {
            name,
            // The block has none, and the reference is for others.
            visibility: parse_quote!(pub),
            reference: naming::reference(ident),
            methods,
            grain: Grain::Just(item.self_ty.clone()),
        };
        contract.checked(errors, item.self_ty.span())
    }

    fn checked(self, mut errors: Errors, span: Span) -> Result<Self, Error> {
        if self.methods.is_empty() && errors.is_empty() {
            let message = "a contract needs a method that takes `&mut self`";
            errors.add(Error::new(span, message));
        }
        if self.methods.len() > METHODS_MAX {
            let message = format!("a contract has at most {METHODS_MAX} methods");
            errors.add(Error::new(span, message));
        }
        errors.into_result(self)
    }
}

fn has_exclusive_self(signature: &Signature) -> bool {
    signature.receiver().is_some_and(is_exclusive)
}

fn type_name(ty: &Type) -> Result<&Ident, Error> {
    if let Type::Path(TypePath { qself: None, path }) = peel(ty)
        && let Some(last) = path.segments.last()
        && last.arguments.is_none()
    {
        return Ok(&last.ident);
    }
    Err(Error::new_spanned(
        ty,
        "a grain is a type with a plain name, without parameters",
    ))
}

/// Numbers of methods have 16 bits on the wire.
const METHODS_MAX: usize = 1 << 16;
