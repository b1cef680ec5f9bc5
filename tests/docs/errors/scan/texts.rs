//! The texts that an expression may be.

use std::collections::HashMap;

use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::{
    Block, Expr, Lit, LitStr, Local, Token,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
    visit::{self, Visit},
};

use super::{Found, Scan};

/// Texts are not made of more texts than this, one within the other.
const MAX_DEPTH: usize = 8;

impl Scan<'_> {
    /// What a name stands for.
    fn meaning(&self, name: &str) -> Option<&Expr> {
        match self.locals.iter().rev().find_map(|locals| locals.get(name)) {
            Some(local) => local.as_ref(),
            None => self.consts.get(name),
        }
    }

    /// What a name stands for, where that is one text.
    fn only_text(&self, name: &str, depth: usize) -> Option<String> {
        let meaning = self.meaning(name)?;
        // One that is chosen may be another, of which nothing is known.
        let is_chosen = matches!(meaning, Expr::Match(_) | Expr::If(_) | Expr::Call(_));
        let mut texts = self.texts(meaning, depth + 1);
        (texts.len() == 1 && !is_chosen).then(|| texts.remove(0))
    }

    /// The texts that an expression may be.
    pub(super) fn texts(&self, expr: &Expr, depth: usize) -> Vec<String> {
        // A name may stand for something that is made of the name before.
        if depth > MAX_DEPTH {
            return Vec::new();
        }
        let deeper = |expr: &Expr| self.texts(expr, depth + 1);
        match expr {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => vec![text.value()],
                _ => Vec::new(),
            },
            Expr::Macro(call) if call.mac.path.is_ident("format") || call.mac.path.is_ident("concat") => {
                self.format(call.mac.tokens.clone(), depth).into_iter().collect()
            }
            Expr::Path(path) => path
                .path
                .get_ident()
                .map_or_else(Vec::new, |name| self.meaning(&name.to_string()).map_or_else(Vec::new, deeper)),
            Expr::Reference(inner) => deeper(&inner.expr),
            Expr::Paren(inner) => deeper(&inner.expr),
            Expr::Try(inner) => deeper(&inner.expr),
            Expr::MethodCall(call) => match call.method.to_string().as_str() {
                "to_owned" | "into" | "to_string" | "clone" | "as_str" => deeper(&call.receiver),
                "unwrap_or" | "map_or" | "map_or_else" | "unwrap_or_else" => {
                    call.args.iter().flat_map(deeper).collect()
                }
                _ => Vec::new(),
            },
            Expr::Call(call) => {
                let of_args: Vec<String> = call.args.iter().flat_map(deeper).collect();
                if of_args.is_empty() { self.of_function(&call.func, depth) } else { of_args }
            }
            Expr::Closure(closure) => deeper(&closure.body),
            Expr::Block(block) => self.last(&block.block, depth),
            Expr::If(choice) => {
                let other = choice.else_branch.as_ref().map(|(_, other)| deeper(other));
                self.last(&choice.then_branch, depth).into_iter().chain(other.unwrap_or_default()).collect()
            }
            Expr::Match(choice) => choice.arms.iter().flat_map(|arm| deeper(&arm.body)).collect(),
            _ => Vec::new(),
        }
    }

    /// The texts that a function without such arguments gives.
    fn of_function(&self, callee: &Expr, depth: usize) -> Vec<String> {
        let Expr::Path(path) = callee else { return Vec::new() };
        let name = path.path.segments.last().unwrap().ident.to_string();
        let Some(body) = self.functions.get(&name) else { return Vec::new() };
        let mut within = Within::default();
        within.visit_block(body);
        let mut unheard = Found::default();
        let mut inner = Scan {
            file: self.file.clone(),
            consts: self.consts.clone(),
            functions: self.functions,
            locals: vec![HashMap::new()],
            found: &mut unheard,
        };
        for local in &within.locals {
            if let Some(init) = &local.init {
                inner.bind(&local.pat, &init.expr);
            }
        }
        let returned = within.returns.iter().flat_map(|expr| inner.texts(expr, depth + 1));
        returned.chain(inner.last(body, depth)).collect()
    }

    fn last(&self, block: &Block, depth: usize) -> Vec<String> {
        match block.stmts.last() {
            Some(syn::Stmt::Expr(expr, None)) => self.texts(expr, depth + 1),
            _ => Vec::new(),
        }
    }

    /// What `format!` makes: each part under the name of what fills it.
    pub(super) fn format(&self, tokens: TokenStream, depth: usize) -> Option<String> {
        let Format { template, args } = syn::parse2(tokens).ok()?;
        let mut args = args.iter().filter(|arg| !matches!(arg, Expr::Assign(_)));
        let mut out = String::new();
        let mut chars = template.value().chars().collect::<Vec<_>>().into_iter().peekable();
        while let Some(c) = chars.next() {
            match (c, chars.peek()) {
                ('{' | '}', Some(next)) if *next == c => {
                    out.push(c);
                    chars.next();
                }
                ('{', _) => {
                    let inside: String = chars.by_ref().take_while(|c| *c != '}').collect();
                    let name = inside.split(':').next().unwrap_or_default().trim_start_matches('.');
                    let name = match name {
                        "" | "0" | "1" => args.next().map_or_else(|| "text".to_owned(), name_of),
                        name => name.to_owned(),
                    };
                    match self.only_text(&name, depth) {
                        Some(text) => out.push_str(&text),
                        None => out.push_str(&format!("{{{name}}}")),
                    }
                }
                _ => out.push(c),
            }
        }
        Some(out)
    }
}

/// What a part is called: `draft.kind` is the kind, `path.display()` the path.
fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Path(path) => path.path.segments.last().unwrap().ident.to_string(),
        Expr::Field(field) => field.member.to_token_stream().to_string(),
        Expr::MethodCall(call) => name_of(&call.receiver),
        Expr::Reference(inner) => name_of(&inner.expr),
        Expr::Paren(inner) => name_of(&inner.expr),
        Expr::Try(inner) => name_of(&inner.expr),
        Expr::Call(call) => call.args.first().map_or_else(|| "text".to_owned(), name_of),
        Expr::Binary(both) => name_of(&both.left),
        _ => "text".to_owned(),
    }
}

/// What a function says on its way, and what it gives.
#[derive(Default)]
struct Within {
    locals: Vec<Local>,
    returns: Vec<Expr>,
}

impl<'ast> Visit<'ast> for Within {
    fn visit_local(&mut self, local: &'ast Local) {
        self.locals.push(local.clone());
        visit::visit_local(self, local);
    }

    fn visit_expr_return(&mut self, given: &'ast syn::ExprReturn) {
        self.returns.extend(given.expr.as_deref().cloned());
        visit::visit_expr_return(self, given);
    }
}

struct Format {
    template: LitStr,
    args: Punctuated<Expr, Token![,]>,
}

impl Parse for Format {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let template = input.parse()?;
        let mut args = Punctuated::new();
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            // thiserror's `.field` is no expression.
            input.parse::<Option<Token![.]>>()?;
            args.push(input.parse()?);
        }
        Ok(Self { template, args })
    }
}
