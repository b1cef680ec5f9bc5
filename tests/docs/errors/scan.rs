//! What the code says to people: the texts that it hands to the makers of errors, read from the source.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Attribute, Block, Expr, ImplItemFn, Item, ItemFn, Local, Pat, Token,
    parse::Parser as _,
    punctuated::Punctuated,
    visit::{self, Visit},
};

mod texts;

/// A call, or a struct that is made: what is called, and the texts that each argument may be. Parts that are filled in stand in braces.
#[derive(Debug, Clone)]
pub struct Call {
    /// From the repository's root.
    pub file: String,
    /// `ApiError::bad_request`, or a bare name of a function, method, macro or struct.
    pub callee: String,
    pub args: Vec<Vec<String>>,
}

/// A variant of an error enum: its `#[error("...")]`.
#[derive(Debug, Clone)]
pub struct Variant {
    pub file: String,
    pub text: String,
}

/// Everything that is called, and every variant with a text.
#[derive(Debug, Default)]
pub struct Found {
    pub calls: Vec<Call>,
    pub variants: Vec<Variant>,
}

impl Found {
    /// Of all code below `places`. Tests are left out.
    pub fn below(places: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = Vec::new();
        for place in places {
            collect(&root.join(place), &mut paths);
        }
        paths.sort();
        let files: Vec<(String, syn::File)> = paths
            .iter()
            .map(|path| {
                let file = path.strip_prefix(root).unwrap().display().to_string();
                let syntax = syn::parse_file(&fs::read_to_string(path).unwrap());
                let syntax = syntax.unwrap_or_else(|error| panic!("{file}: {error}"));
                (file, syntax)
            })
            .collect();
        let mut functions = HashMap::new();
        for (_, syntax) in &files {
            functions.extend(syntax.items.iter().filter_map(function));
        }
        let mut found = Self::default();
        for (file, syntax) in &files {
            found.read(file, syntax, &functions);
        }
        found
    }

    fn read(&mut self, file: &str, syntax: &syn::File, functions: &HashMap<String, Block>) {
        let consts = syntax.items.iter().filter_map(constant).collect();
        let file = file.to_owned();
        let mut scan = Scan { file, consts, functions, locals: vec![HashMap::new()], found: self };
        scan.visit_file(syntax);
    }

    /// What is called in these files, or below these directories.
    pub fn calls_in<'a>(&'a self, places: &'a [&'a str]) -> impl Iterator<Item = &'a Call> {
        self.calls.iter().filter(move |call| is_below(&call.file, places))
    }

    /// The variants in these files, or below these directories.
    pub fn variants_in<'a>(&'a self, places: &'a [&'a str]) -> impl Iterator<Item = &'a Variant> {
        self.variants.iter().filter(move |variant| is_below(&variant.file, places))
    }
}

fn is_below(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| {
        file.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest == ".rs")
    })
}

fn function(item: &Item) -> Option<(String, Block)> {
    match item {
        Item::Fn(function) => Some((function.sig.ident.to_string(), (*function.block).clone())),
        _ => None,
    }
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
    /// Those of all files, by name.
    functions: &'a HashMap<String, Block>,
    /// What `let` says, by block; the innermost last. `None`: a parameter, or a part of a pattern.
    locals: Vec<HashMap<String, Option<Expr>>>,
    found: &'a mut Found,
}

/// The names in a pattern.
fn idents(pattern: TokenStream, names: &mut HashMap<String, Option<Expr>>) {
    for token in pattern {
        match token {
            TokenTree::Ident(name) => {
                names.insert(name.to_string(), None);
            }
            TokenTree::Group(group) => idents(group.stream(), names),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
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
            let params = function.sig.inputs.iter().map(ToTokens::to_token_stream);
            self.within(params, |scan| visit::visit_item_fn(scan, function));
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_test(&function.attrs) {
            let params = function.sig.inputs.iter().map(ToTokens::to_token_stream);
            self.within(params, |scan| visit::visit_impl_item_fn(scan, function));
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        for variant in &item.variants {
            for attribute in variant.attrs.iter().filter(|attribute| attribute.path().is_ident("error")) {
                let Ok(list) = attribute.meta.require_list() else { continue };
                if let Some(text) = self.format(list.tokens.clone(), 0) {
                    let file = self.file.clone();
                    self.found.variants.push(Variant { file, text });
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

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        let params = closure.inputs.iter().map(ToTokens::to_token_stream);
        self.within(params, |scan| visit::visit_expr_closure(scan, closure));
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let parts = std::iter::once(arm.pat.to_token_stream());
        self.within(parts, |scan| visit::visit_arm(scan, arm));
    }

    fn visit_expr_struct(&mut self, made: &'ast syn::ExprStruct) {
        let name = made.path.segments.last().unwrap().ident.to_string();
        self.called(name, made.fields.iter().map(|field| &field.expr));
        visit::visit_expr_struct(self, made);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call.path.segments.last().unwrap().ident.to_string();
        if ["bail", "anyhow"].contains(&name.as_str())
            && let Some(text) = self.format(call.tokens.clone(), 0)
        {
            let file = self.file.clone();
            self.found.calls.push(Call { file, callee: name, args: vec![vec![text]] });
        }
        // Errors may be made inside of other macros' arguments.
        if let Ok(args) = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(call.tokens.clone()) {
            args.iter().for_each(|arg| {
                let mut inner = Scan {
                    file: self.file.clone(),
                    consts: self.consts.clone(),
                    functions: self.functions,
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
        self.locals.last_mut().unwrap().insert(name, Some(expr));
    }

    /// Where the names in `patterns` stand for nobody knows what.
    fn within(&mut self, patterns: impl Iterator<Item = TokenStream>, look: impl FnOnce(&mut Self)) {
        let mut names = HashMap::new();
        patterns.for_each(|pattern| idents(pattern, &mut names));
        self.locals.push(names);
        look(self);
        self.locals.pop();
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
        self.found.calls.push(Call { file: self.file.clone(), callee, args });
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
            ApiError::expired(why(draft));
            let what = "something";
            let gone = |what: &str| ApiError::gone(format!("{what} is gone"));
            Unserved { name: draft.name, reason: "away" }
        }
        fn why(draft: &Draft) -> String {
            let old = format!("{} is old", draft.kind);
            if draft.is_new() { return format!("{old} or new") }
            old
        }
        #[cfg(test)]
        mod tests { fn g() { ApiError::internal("no"); } }
    };
    let mut found = Found::default();
    found.read("a.rs", &syntax, &syntax.items.iter().filter_map(function).collect());
    let Found { calls, variants } = found;
    let args = |callee: &str| {
        calls.iter().find(|call| call.callee == callee).unwrap_or_else(|| panic!("{callee}")).args.clone()
    };
    assert_eq!(args("ApiError::bad_request"), [["{path} is {kind}", "busy"]]);
    assert_eq!(args("fault"), [vec!["--x"], vec!["it is missing"], vec![]]);
    assert!(args("ApiError::timeout").is_empty());
    assert!(calls.iter().all(|call| call.callee != "ApiError::internal"), "of a test");
    assert_eq!(args("ApiError::expired"), [["{kind} is old or new", "{kind} is old"]]);
    assert_eq!(args("ApiError::gone"), [["{what} is gone"]]);
    assert_eq!(args("Unserved"), [vec![], vec!["away"]]);
    assert_eq!(variants[0].text, "{path} has {what}: {text}");
}
