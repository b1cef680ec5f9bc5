//! What the code says to people: the texts that it hands to the makers of errors, read from the source.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::{
    Attribute, Block, Expr, ImplItemFn, Item, ItemFn, Lit, LitStr, Local, Pat, Token,
    parse::{Parse, ParseStream, Parser as _},
    punctuated::Punctuated,
    visit::{self, Visit},
};

/// A call: what is called, and the texts that each argument may be. Parts that are filled in stand in braces.
#[derive(Debug, Clone)]
pub struct Call {
    /// From the repository's root.
    pub file: String,
    /// `ApiError::bad_request`, or a bare name of a function, method or macro.
    pub callee: String,
    pub args: Vec<Vec<String>>,
}

/// A variant of an error enum: its `#[error("...")]`.
#[derive(Debug, Clone)]
pub struct Variant {
    pub file: String,
    pub text: String,
}

/// Everything that is called below `places`, and every variant with a text. Tests are left out.
pub fn scan(places: &[&str]) -> (Vec<Call>, Vec<Variant>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for place in places {
        collect(&root.join(place), &mut files);
    }
    files.sort();
    let mut found = (Vec::new(), Vec::new());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(root).unwrap().display().to_string();
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let consts = syntax.items.iter().filter_map(constant).collect();
        let mut scan = Scan { file, consts, locals: vec![HashMap::new()], found: &mut found };
        scan.visit_file(&syntax);
    }
    found
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| collect(&entry.unwrap().path(), files));
    } else if path.extension().is_some_and(|extension| extension == "rs")
        && !path.file_name().unwrap().to_string_lossy().ends_with("tests.rs")
        && !path.parent().unwrap().ends_with("tests")
    {
        files.push(path.to_owned());
    }
}

fn constant(item: &Item) -> Option<(String, Expr)> {
    match item {
        Item::Const(constant) => Some((constant.ident.to_string(), (*constant.expr).clone())),
        _ => None,
    }
}

struct Scan<'a> {
    file: String,
    consts: HashMap<String, Expr>,
    /// What `let` says, by block; the innermost last.
    locals: Vec<HashMap<String, Expr>>,
    found: &'a mut (Vec<Call>, Vec<Variant>),
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = attribute.to_token_stream().to_string();
        text == "# [test]" || text == "# [cfg (test)]"
    })
}

impl<'ast> Visit<'ast> for Scan<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        for variant in &item.variants {
            for attribute in variant.attrs.iter().filter(|attribute| attribute.path().is_ident("error")) {
                let Ok(list) = attribute.meta.require_list() else { continue };
                if let Some(text) = self.format(list.tokens.clone()) {
                    let file = self.file.clone();
                    self.found.1.push(Variant { file, text });
                }
            }
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        self.locals.push(HashMap::new());
        for item in &block.stmts {
            if let syn::Stmt::Item(Item::Const(constant)) = item {
                self.know(constant.ident.to_string(), (*constant.expr).clone());
            }
        }
        visit::visit_block(self, block);
        self.locals.pop();
    }

    fn visit_local(&mut self, local: &'ast Local) {
        visit::visit_local(self, local);
        let Some(init) = &local.init else { return };
        self.bind(&local.pat, &init.expr);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let Expr::Path(path) = &*call.func {
            let names: Vec<String> =
                path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let known = names.len().saturating_sub(2);
            self.called(names[known..].join("::"), call.args.iter());
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.called(call.method.to_string(), call.args.iter());
        // A function that is handed over: `.map_err(ApiError::bad_request)`.
        for arg in &call.args {
            if let Expr::Path(path) = arg
                && let [.., owner, name] = path.path.segments.iter().collect::<Vec<_>>().as_slice()
            {
                self.called(format!("{}::{}", owner.ident, name.ident), std::iter::empty());
            }
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call.path.segments.last().unwrap().ident.to_string();
        if ["bail", "anyhow"].contains(&name.as_str())
            && let Some(text) = self.format(call.tokens.clone())
        {
            let file = self.file.clone();
            self.found.0.push(Call { file, callee: name, args: vec![vec![text]] });
        }
        // Errors may be made inside of other macros' arguments.
        if let Ok(args) = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(call.tokens.clone()) {
            args.iter().for_each(|arg| {
                let mut inner = Scan {
                    file: self.file.clone(),
                    consts: self.consts.clone(),
                    locals: self.locals.clone(),
                    found: self.found,
                };
                inner.visit_expr(arg);
            });
        }
    }
}

impl Scan<'_> {
    fn know(&mut self, name: String, expr: Expr) {
        self.locals.last_mut().unwrap().insert(name, expr);
    }

    /// `let (problem, mend) = (..)` says each, `let message = ..` the one.
    fn bind(&mut self, pat: &Pat, expr: &Expr) {
        match (pat, expr) {
            (Pat::Ident(name), expr) => self.know(name.ident.to_string(), expr.clone()),
            (Pat::Type(typed), expr) => self.bind(&typed.pat, expr),
            (Pat::Tuple(names), Expr::Tuple(values)) => {
                for (name, value) in names.elems.iter().zip(&values.elems) {
                    self.bind(name, value);
                }
            }
            _ => {}
        }
    }

    fn called<'e>(&mut self, callee: String, args: impl Iterator<Item = &'e Expr>) {
        let args = args.map(|arg| self.texts(arg, 0)).collect();
        self.found.0.push(Call { file: self.file.clone(), callee, args });
    }

    /// The texts that an expression may be.
    fn texts(&self, expr: &Expr, depth: usize) -> Vec<String> {
        if depth > 12 {
            return Vec::new();
        }
        let deeper = |expr: &Expr| self.texts(expr, depth + 1);
        match expr {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => vec![text.value()],
                _ => Vec::new(),
            },
            Expr::Macro(call) if call.mac.path.is_ident("format") || call.mac.path.is_ident("concat") => {
                self.format(call.mac.tokens.clone()).into_iter().collect()
            }
            Expr::Path(path) => path.path.get_ident().map_or_else(Vec::new, |name| {
                let name = name.to_string();
                let local = self.locals.iter().rev().find_map(|locals| locals.get(&name));
                local.or_else(|| self.consts.get(&name)).map_or_else(Vec::new, deeper)
            }),
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
            Expr::Call(call) => call.args.iter().flat_map(deeper).collect(),
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

    fn last(&self, block: &Block, depth: usize) -> Vec<String> {
        match block.stmts.last() {
            Some(syn::Stmt::Expr(expr, None)) => self.texts(expr, depth + 1),
            _ => Vec::new(),
        }
    }

    /// What `format!` makes: each part under the name of what fills it.
    fn format(&self, tokens: TokenStream) -> Option<String> {
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
                        "" | "0" | "1" => args.next().map_or_else(|| "...".to_owned(), name_of),
                        name => name.to_owned(),
                    };
                    out.push_str(&format!("{{{name}}}"));
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
        Expr::Call(call) => call.args.first().map_or_else(|| "...".to_owned(), name_of),
        Expr::Binary(both) => name_of(&both.left),
        _ => "...".to_owned(),
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

#[test]
fn texts_are_found_with_what_fills_them() {
    let syntax: syn::File = syn::parse_quote! {
        const BUSY: &str = "busy";
        enum E { #[error("{} has {what}: {0}", .path.display())] A }
        fn f(path: &Path, draft: &Draft) {
            let message = if path.is_file() { format!("{} is {:?}", path.display(), draft.kind) } else { BUSY.to_owned() };
            ApiError::bad_request(message);
            check.fault("--x", "it is missing", MEND);
            text.map_err(ApiError::timeout);
        }
        #[cfg(test)]
        mod tests { fn g() { ApiError::gone("no"); } }
    };
    let consts = syntax.items.iter().filter_map(constant).collect();
    let mut found = (Vec::new(), Vec::new());
    let mut scan = Scan { file: "a.rs".into(), consts, locals: vec![HashMap::new()], found: &mut found };
    scan.visit_file(&syntax);
    let (calls, variants) = found;
    let args = |callee: &str| {
        calls.iter().find(|call| call.callee == callee).unwrap_or_else(|| panic!("{callee}")).args.clone()
    };
    assert_eq!(args("ApiError::bad_request"), [["{path} is {kind}", "busy"]]);
    assert_eq!(args("fault"), [vec!["--x"], vec!["it is missing"], vec![]]);
    assert!(args("ApiError::timeout").is_empty());
    assert!(calls.iter().all(|call| call.callee != "ApiError::gone"), "of a test");
    assert_eq!(variants[0].text, "{path} has {what}: {...}");
}
