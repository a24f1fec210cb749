//! One method of a contract, checked: what it takes, what it answers, how it runs.
//!
//! A signature that cannot be called from another machine is refused here, with the cure in the
//! error, before the compiler can complain about code that nobody wrote.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::ext::IdentExt as _;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Error, FnArg, GenericArgument, Lifetime, Pat, PatType, PathArguments, Receiver,
    ReturnType, Signature, Type, TypeImplTrait, TypePath, TypeReference, parse_quote,
};

use crate::errors::Errors;

/// A method of a contract.
pub(crate) struct Method {
    pub(crate) ident: Ident,
    /// Attributes that hold for the stub as well: its documentation, its deprecation.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) is_async: bool,
    /// Whether the first parameter is `&Ctx`.
    pub(crate) takes_ctx: bool,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) reply: Type,
}

/// A parameter that travels.
pub(crate) struct Argument {
    pub(crate) ident: Ident,
    /// What travels: `T` for a parameter `&Archived<T>`.
    pub(crate) ty: Type,
    /// Whether the method reads the archive in place.
    pub(crate) in_place: bool,
}

impl Method {
    /// Checks a method that has a receiver.
    pub(crate) fn new(attributes: &[Attribute], signature: &Signature) -> Result<Self, Error> {
        let mut errors = Errors::default();
        check_head(&mut errors, attributes, signature);
        let mut parameters = signature.inputs.iter().filter_map(parameter).peekable();
        let takes_ctx = parameters
            .next_if(|parameter| is_ctx(&parameter.ty))
            .is_some();
        let arguments: Vec<_> = parameters
            .filter_map(|parameter| errors.keep(Argument::new(parameter)))
            .collect();
        if let Some(surplus) = arguments.get(ARGUMENTS_MAX) {
            let message = format!(
                "a method has at most {ARGUMENTS_MAX} arguments, make a `#[message]` of them"
            );
            errors.add(Error::new_spanned(&surplus.ident, message));
        }
        let reply = match &signature.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, ty) => {
                errors.keep(check_travels(ty, "a reply"));
                Type::clone(ty)
            }
        };
        errors.into_result(Self {
            ident: signature.ident.clone(),
            attributes: attributes
                .iter()
                .filter(|a| holds_for_stub(a))
                .cloned()
                .collect(),
            is_async: signature.asyncness.is_some(),
            takes_ctx,
            arguments,
            reply,
        })
    }

    /// Whether any argument is read in place.
    pub(crate) fn reads_in_place(&self) -> bool {
        self.arguments.iter().any(|argument| argument.in_place)
    }

    /// The type that all arguments travel in.
    pub(crate) fn arguments_type(&self) -> TokenStream {
        let types = self.arguments.iter().map(|argument| &argument.ty);
        quote!((#(#types,)*))
    }
}

impl Argument {
    fn new(parameter: &PatType) -> Result<Self, Error> {
        let ident = match &*parameter.pat {
            Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => pat.ident.clone(),
            pat => {
                return Err(Error::new_spanned(
                    pat,
                    "give the argument a plain name: callers see it in the reference",
                ));
            }
        };
        if let Some(cfg) = parameter.attrs.iter().find(|a| a.path().is_ident("cfg")) {
            return Err(conditional(cfg));
        }
        let ty = peel(&parameter.ty);
        if is_ctx(ty) {
            let message = "`&Ctx` comes first, right after `&mut self`";
            return Err(Error::new_spanned(ty, message));
        }
        let (ty, in_place) = match archived(ty) {
            Some(inner) => (inner, true),
            None => (ty, false),
        };
        check_travels(ty, "an argument")?;
        Ok(Self {
            ident,
            ty: ty.clone(),
            in_place,
        })
    }
}

/// Whether a receiver is `&mut self`, in either spelling.
pub(crate) fn is_exclusive(receiver: &Receiver) -> bool {
    match peel(&receiver.ty) {
        Type::Reference(reference) => {
            reference.mutability.is_some()
                && matches!(&*reference.elem, Type::Path(path) if path.path.is_ident("Self"))
        }
        _ => false,
    }
}

/// The type without the invisible brackets that a `macro_rules` parameter leaves around it.
pub(crate) fn peel(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => peel(&group.elem),
        Type::Paren(paren) => peel(&paren.elem),
        ty => ty,
    }
}

fn check_head(errors: &mut Errors, attributes: &[Attribute], signature: &Signature) {
    let ident = &signature.ident;
    if RESERVED.iter().any(|name| ident.unraw() == name) {
        let message =
            format!("every reference has a method `{ident}` of its own, choose another name");
        errors.add(Error::new_spanned(ident, message));
    }
    if let Some(cfg) = attributes.iter().find(|a| a.path().is_ident("cfg")) {
        errors.add(conditional(cfg));
    }
    if !signature.generics.params.is_empty() {
        let message = "a method of a contract has no type parameters and no lifetimes: \
                       caller and grain may be different programs";
        errors.add(Error::new_spanned(&signature.generics, message));
    }
    if let Some(clause) = &signature.generics.where_clause {
        errors.add(Error::new_spanned(
            clause,
            "a method of a contract has no `where` clause",
        ));
    }
    if let Some(unsafety) = &signature.unsafety {
        let message = "a method of a contract is not `unsafe`: no caller could keep its promise";
        errors.add(Error::new_spanned(unsafety, message));
    }
}

fn conditional(cfg: &Attribute) -> Error {
    let message = "methods and arguments of a contract do not depend on `cfg`: \
                   builds would disagree about it";
    Error::new_spanned(cfg, message)
}

fn parameter(input: &FnArg) -> Option<&PatType> {
    match input {
        FnArg::Typed(parameter) => Some(parameter),
        FnArg::Receiver(_) => None,
    }
}

fn holds_for_stub(attribute: &Attribute) -> bool {
    attribute.path().is_ident("doc") || attribute.path().is_ident("deprecated")
}

fn is_ctx(ty: &Type) -> bool {
    let Type::Reference(TypeReference {
        mutability: None,
        elem,
        ..
    }) = peel(ty)
    else {
        return false;
    };
    let Type::Path(path) = peel(elem) else {
        return false;
    };
    path.path
        .segments
        .last()
        .is_some_and(|segment| segment.ident == "Ctx")
}

/// The `T` of `&Archived<T>`.
fn archived(ty: &Type) -> Option<&Type> {
    let Type::Reference(TypeReference {
        lifetime: None,
        mutability: None,
        elem,
        ..
    }) = ty
    else {
        return None;
    };
    let Type::Path(TypePath { qself: None, path }) = peel(elem) else {
        return None;
    };
    let last = path
        .segments
        .last()
        .filter(|segment| segment.ident == "Archived")?;
    let PathArguments::AngleBracketed(generics) = &last.arguments else {
        return None;
    };
    match generics.args.first() {
        Some(GenericArgument::Type(inner)) if generics.args.len() == 1 => Some(peel(inner)),
        _ => None,
    }
}

fn check_travels(ty: &Type, what: &'static str) -> Result<(), Error> {
    let mut check = Travels {
        what,
        errors: Errors::default(),
    };
    check.visit_type(ty);
    check.errors.into_result(())
}

/// Finds what cannot be part of a message, whatever the types are.
struct Travels {
    what: &'static str,
    errors: Errors,
}

impl<'ast> Visit<'ast> for Travels {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        let cure = match (self.what, peel(&reference.elem)) {
            ("a reply", _) => "answer with a value that owns what it holds",
            (_, Type::Path(path)) if path.path.is_ident("str") => {
                "take `String`, or `&Archived<String>` to read it in place"
            }
            _ => "take it by value, or take `&Archived<T>` to read it in place",
        };
        let message = format!("{} travels and cannot borrow: {cure}", self.what);
        self.errors.add(Error::new_spanned(reference, message));
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        let message = format!("{} travels and cannot borrow", self.what);
        self.errors.add(Error::new_spanned(lifetime, message));
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast TypeImplTrait) {
        let message = format!(
            "{} has a type that both sides can name, not `impl Trait` (and a method that waits is \
             an `async fn`)",
            self.what
        );
        self.errors.add(Error::new_spanned(ty, message));
    }

    fn visit_type_path(&mut self, path: &'ast TypePath) {
        if path
            .path
            .segments
            .first()
            .is_some_and(|segment| segment.ident == "Self")
        {
            let message = format!(
                "{} cannot be named by `Self`: the grain does not travel",
                self.what
            );
            self.errors.add(Error::new_spanned(path, message));
        }
        visit::visit_type_path(self, path);
    }
}

/// As many as a tuple that implements the traits of a message has members.
const ARGUMENTS_MAX: usize = 8;

/// What a reference has beside its contract.
const RESERVED: [&str; 4] = ["kind", "kind_with", "key", "clone"];
