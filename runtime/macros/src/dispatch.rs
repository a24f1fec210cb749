//! The grain's half of a contract: from a method number and arguments to a handler.
//!
//! One arm per method. Arguments are taken before the grain is, so that a message which cannot be
//! decoded leaves the grain where it was. Local names cannot clash with those of the user, because
//! arguments are called by their positions.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};
use syn::Index;

use crate::contract::{Contract, Grain};
use crate::naming::Root;
use crate::signature::Method;

/// The `Serve` implementation of the reference.
pub(crate) fn expand(root: &Root, contract: &Contract) -> TokenStream {
    let Root { krate, generated } = root;
    let Contract {
        reference, methods, ..
    } = contract;
    let (generics, grain, qualified) = match &contract.grain {
        Grain::Any(ident) => (
            quote!(<__Grain: #ident + 'static>),
            quote!(__Grain),
            quote!(<__Grain as #ident>),
        ),
        Grain::Just(ty) => (quote!(), quote!(#ty), quote!(<#ty>)),
    };
    let arms = methods.iter().enumerate().map(|(number, method)| {
        let number = Literal::usize_unsuffixed(number);
        let ident = &method.ident;
        let body = Arm {
            root,
            method,
            handler: quote!(#qualified::#ident),
        }
        .expand();
        quote!(#number => { #body })
    });
    let ctx = if methods.iter().any(|method| method.takes_ctx) {
        quote!(ctx)
    } else {
        quote!(_)
    };
    let (asynchronous, plain): (Vec<_>, Vec<_>) =
        methods.iter().partition(|method| method.is_async);
    let keep = if asynchronous.is_empty() {
        quote!(Stays)
    } else {
        quote!(Leaves)
    };
    let reply = if plain.is_empty() {
        quote!(_)
    } else {
        quote!(reply)
    };
    quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl #generics #krate::Serve<#grain> for #reference {
            type Keep = #generated::#keep<#grain>;

            fn serve(
                keep: &mut Self::Keep,
                #ctx: &#krate::Ctx,
                method: #generated::MethodId,
                arguments: #krate::Arguments<'_>,
                #reply: &mut #krate::Payload,
            ) -> #generated::Step {
                match method.0 {
                    #(#arms)*
                    _ => #generated::Step::Refused(#generated::Status::UnknownMethod),
                }
            }
        }
    }
}

/// How one method is run.
struct Arm<'a> {
    root: &'a Root,
    method: &'a Method,
    /// Path of the function.
    handler: TokenStream,
}

impl Arm<'_> {
    fn expand(&self) -> TokenStream {
        match (self.method.is_async, self.method.reads_in_place()) {
            (false, false) => self.moved(),
            (true, false) => self.moved_async(),
            (false, true) => self.in_place(),
            (true, true) => self.in_place_async(),
        }
    }

    fn moved(&self) -> TokenStream {
        let generated = &self.root.generated;
        let take = self.take();
        let call = self.call(&quote!(#generated::Keep::grain(keep)), &quote!(ctx));
        quote! {
            #take
            reply.set(#call);
            #generated::Step::Done
        }
    }

    fn moved_async(&self) -> TokenStream {
        let Root { krate, .. } = self.root;
        let take = self.take();
        let call = self.call(&quote!(&mut *grain), &quote!(&ctx));
        let later = self.later(&quote! {
            ::core::result::Result::Ok(#krate::Payload::new(#call.await))
        });
        quote! {
            #take
            #later
        }
    }

    fn in_place(&self) -> TokenStream {
        let generated = &self.root.generated;
        let block = self.block();
        let refused = self.refused();
        let read = self.read(&quote!(return #refused));
        let call = self.call(&quote!(#generated::Keep::grain(keep)), &quote!(ctx));
        quote! {
            #block
            #read
            reply.set(#call);
            #generated::Step::Done
        }
    }

    fn in_place_async(&self) -> TokenStream {
        let Root { krate, generated } = self.root;
        let block = self.block();
        let undecodable = quote!(::core::result::Result::Err(#generated::Status::Undecodable));
        let read = self.read(&quote!(break 'run #undecodable));
        let call = self.call(&quote!(&mut *grain), &quote!(&ctx));
        let later = self.later(&quote! {
            'run: {
                #read
                ::core::result::Result::Ok(#krate::Payload::new(#call.await))
            }
        });
        quote! {
            #block
            #later
        }
    }

    /// All arguments as values.
    fn take(&self) -> TokenStream {
        let ty = self.method.arguments_type();
        let locals = self.locals();
        let refused = self.refused();
        quote! {
            let ::core::result::Result::Ok((#(#locals,)*)) = arguments.take::<#ty>() else {
                return #refused;
            };
        }
    }

    fn block(&self) -> TokenStream {
        let refused = self.refused();
        quote! {
            let ::core::result::Result::Ok(block) = arguments.into_block() else {
                return #refused;
            };
        }
    }

    /// The arguments out of `block`: some as values, the others as references into it.
    fn read(&self, or_else: &TokenStream) -> TokenStream {
        let generated = &self.root.generated;
        let ty = self.method.arguments_type();
        let parts = self.method.arguments.iter().zip(self.locals()).enumerate();
        let parts = parts.map(|(position, (argument, local))| {
            let position = Index::from(position);
            let ty = &argument.ty;
            if argument.in_place {
                return quote!(let #local = &archived.#position;);
            }
            quote! {
                let ::core::result::Result::Ok(#local) =
                    #generated::deserialize::<#ty>(&archived.#position)
                else {
                    #or_else;
                };
            }
        });
        quote! {
            let ::core::result::Result::Ok(archived) = #generated::access::<#ty>(&block) else {
                #or_else;
            };
            #(#parts)*
        }
    }

    /// A future that has the grain until it ends with `outcome`.
    fn later(&self, outcome: &TokenStream) -> TokenStream {
        let ctx = self
            .method
            .takes_ctx
            .then(|| quote!(let ctx = ::core::clone::Clone::clone(ctx);));
        quote! {
            let mut grain = keep.take();
            #ctx
            keep.lend(async move {
                let outcome = #outcome;
                (grain, outcome)
            })
        }
    }

    fn call(&self, grain: &TokenStream, ctx: &TokenStream) -> TokenStream {
        let handler = &self.handler;
        let ctx = self.method.takes_ctx.then(|| quote!(#ctx,));
        let locals = self.locals();
        quote!(#handler(#grain, #ctx #(#locals),*))
    }

    fn locals(&self) -> impl Iterator<Item = Ident> {
        (0..self.method.arguments.len()).map(|position| format_ident!("argument_{position}"))
    }

    fn refused(&self) -> TokenStream {
        let generated = &self.root.generated;
        quote!(#generated::Step::Refused(#generated::Status::Undecodable))
    }
}
