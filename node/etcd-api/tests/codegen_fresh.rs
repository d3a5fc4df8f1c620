//! The committed generated code is what `proto/` gives.

#[path = "../examples/codegen.rs"]
#[allow(dead_code, reason = "the example's main is not used here")]
mod codegen;

use std::path::Path;

#[test]
fn generated_code_is_fresh() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().expect("temporary directory");
    codegen::generate(crate_dir, out.path()).expect("code generation");
    let packages = codegen::PACKAGES.map(|package| format!("{package}.rs"));
    for name in packages.iter().map(String::as_str).chain([codegen::DESCRIPTORS]) {
        let fresh = std::fs::read(out.path().join(name)).expect("fresh file");
        let committed = std::fs::read(crate_dir.join("src/generated").join(name)).expect("committed file");
        assert!(
            fresh == committed,
            "{name} is stale: run `cargo run -p quorate-etcd-api --example codegen`"
        );
    }
}
