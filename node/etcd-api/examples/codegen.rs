//! Generates `src/generated/` from `proto/` without protoc. Run it after an edit of a `.proto` file:
//! `cargo run -p quorate-etcd-api --example codegen`. A test compares its output with what is committed.

use std::path::Path;

/// Packages, each generated into a file of its name.
pub const PACKAGES: [&str; 6] = [
    "mvccpb",
    "authpb",
    "etcdserverpb",
    "v3lockpb",
    "v3electionpb",
    "quoratepb",
];

/// What includes everything else.
const SOURCES: [&str; 4] = [
    "etcdserverpb/rpc.proto",
    "v3lockpb/v3lock.proto",
    "v3electionpb/v3election.proto",
    "quoratepb/import.proto",
];

/// The schema of every package, as an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &str = "descriptors.bin";

/// `TYPE_BYTES` of protobuf's `FieldDescriptorProto`.
const DESCRIPTOR_TYPE_BYTES: i32 = 12;

/// Writes the generated modules into `out`.
pub fn generate(crate_dir: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let proto = crate_dir.join("proto");
    let mut descriptors = protox::compile(SOURCES.map(|source| proto.join(source)), [proto])?;
    write_descriptors(&descriptors, out)?;
    hold_watch_events_as_bytes(&mut descriptors);
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    // Passwords pass through these: a derived Debug would write them into a log.
    config.skip_debug([
        ".etcdserverpb.AuthenticateRequest",
        ".etcdserverpb.AuthenticateResponse",
        ".etcdserverpb.AuthUserAddRequest",
        ".etcdserverpb.AuthUserChangePasswordRequest",
    ]);
    tonic_prost_build::configure()
        .out_dir(out)
        .emit_rerun_if_changed(false)
        .compile_fds_with_config(descriptors, config)?;
    for package in PACKAGES {
        if !out.join(format!("{package}.rs")).is_file() {
            return Err(format!("package {package} was not generated").into());
        }
    }
    Ok(())
}

/// Writes the schema that the JSON gateway and gRPC reflection read, as it is on the wire and without comments.
fn write_descriptors(descriptors: &tonic_prost_build::FileDescriptorSet, out: &Path) -> std::io::Result<()> {
    let mut descriptors = descriptors.clone();
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    std::fs::write(out.join(DESCRIPTORS), prost::Message::encode_to_vec(&descriptors))
}

/// A repeated message and repeated bytes are the same on the wire. As bytes, an event is encoded once and shared by every
/// watcher that gets it.
fn hold_watch_events_as_bytes(descriptors: &mut tonic_prost_build::FileDescriptorSet) {
    let field = descriptors
        .file
        .iter_mut()
        .flat_map(|file| &mut file.message_type)
        .filter(|message| message.name() == "WatchResponse")
        .flat_map(|message| &mut message.field)
        .find(|field| field.name() == "events")
        .expect("WatchResponse has events");
    field.type_name = None;
    field.r#type = Some(DESCRIPTOR_TYPE_BYTES);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    generate(crate_dir, &crate_dir.join("src/generated"))
}
