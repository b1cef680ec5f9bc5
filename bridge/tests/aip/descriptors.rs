//! The protos of services that know nothing of Kubernetes, compiled.

use std::sync::LazyLock;

use protox::file::{
    ChainFileResolver, DescriptorSetFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

pub const PROTO: &str = include_str!("../fixtures/library.proto");

pub static LIBRARY: LazyLock<Vec<u8>> = LazyLock::new(|| compile("example/library/v1/library.proto", PROTO));

/// Descriptor-set bytes of a proto, with Google's files and comments.
pub fn compile(name: &str, text: &str) -> Vec<u8> {
    struct Source(String, String);
    impl FileResolver for Source {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            if name == self.0 {
                File::from_source(name, &self.1)
            } else {
                Err(protox::Error::file_not_found(name))
            }
        }
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(Source(name.to_owned(), text.to_owned()));
    let fixtures = [
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"),
        concat!(env!("CARGO_MANIFEST_DIR"), "/bridge/tests/fixtures"),
    ];
    // From the bridge's tests, or from those of the program.
    for dir in fixtures {
        resolver.add(IncludeFileResolver::new(dir.into()));
    }
    resolver.add(DescriptorSetFileResolver::decode(kubridge_bridge::proto::DESCRIPTORS).unwrap());
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    if let Err(error) = compiler.open_file(name) {
        panic!("{name}: {error:?}");
    }
    compiler.encode_file_descriptor_set()
}
