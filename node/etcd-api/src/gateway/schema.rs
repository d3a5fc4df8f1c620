//! The messages and enums of the API by name, from the committed descriptors: what translating between JSON and the wire
//! needs to know of them.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// The encoded `FileDescriptorSet` of all packages.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("../generated/descriptors.bin");

/// The API's schema.
pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::load);

/// Paths of all methods, each with its kind as gRPC's metrics name it.
pub(crate) fn methods() -> Vec<(String, &'static str)> {
    SCHEMA.kinds.iter().map(|(path, kind)| (path.clone(), *kind)).collect()
}

/// All messages and enums.
pub(super) struct Schema {
    messages: Vec<MessageType>,
    enums: Vec<EnumType>,
    #[cfg(test)]
    by_name: HashMap<String, usize>,
    /// Input and output message of a method, by `/package.Service/Method`.
    methods: HashMap<String, (usize, usize)>,
    kinds: Vec<(String, &'static str)>,
}

/// A message.
#[derive(Default)]
pub(super) struct MessageType {
    /// In the order of their declaration, in which JSON lists them.
    pub(super) fields: Vec<Field>,
    /// Index of a field by either of its names.
    by_name: HashMap<String, usize>,
}

/// A field of a message.
pub(super) struct Field {
    pub(super) number: u32,
    /// As it is written in the `.proto` file.
    pub(super) name: String,
    /// In lower camel case.
    pub(super) json_name: String,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
    /// Full name of the union it belongs to.
    pub(super) oneof: Option<String>,
}

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    String,
    Bytes,
    /// Index of the enum.
    Enum(usize),
    /// Index of the message.
    Message(usize),
}

impl Kind {
    /// The kind as error messages of Go's protobuf name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Uint32 => "uint32",
            Kind::Uint64 => "uint64",
            Kind::String => "string",
            Kind::Bytes => "bytes",
            Kind::Enum(_) => "enum",
            Kind::Message(_) => "message",
        }
    }
}

/// The names and numbers of an enum.
#[derive(Default)]
pub(super) struct EnumType {
    values: Vec<(String, i32)>,
}

impl EnumType {
    pub(super) fn number(&self, name: &str) -> Option<i32> {
        let found = self.values.iter().find(|(known, _)| known == name);
        found.map(|(_, number)| *number)
    }

    pub(super) fn name(&self, number: i32) -> Option<&str> {
        let found = self.values.iter().find(|(_, known)| *known == number);
        found.map(|(name, _)| name.as_str())
    }
}

impl MessageType {
    pub(super) fn field(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

impl Schema {
    pub(super) fn message(&self, index: usize) -> &MessageType {
        &self.messages[index]
    }

    pub(super) fn enumeration(&self, index: usize) -> &EnumType {
        &self.enums[index]
    }

    /// Input and output message of a method, by `/package.Service/Method`; `None` for one that this build does not have.
    pub(super) fn method(&self, path: &str) -> Option<(usize, usize)> {
        self.methods.get(path).copied()
    }

    fn load() -> Schema {
        let files = FileDescriptorSet::decode(DESCRIPTORS)
            .expect("the committed descriptors are valid")
            .file;
        let mut types = Types::default();
        for file in &files {
            let scope = format!(".{}", file.package());
            file.enum_type.iter().for_each(|found| types.add_enum(&scope, found));
            file.message_type
                .iter()
                .for_each(|found| types.add_message(&scope, found));
        }
        let messages: Vec<MessageType> = types
            .messages
            .iter()
            .map(|(name, found)| types.build(name, found))
            .collect();
        let mut methods = HashMap::new();
        let mut kinds = Vec::new();
        for file in &files {
            for (service, method) in file
                .service
                .iter()
                .flat_map(|service| service.method.iter().map(move |m| (service, m)))
            {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let of = |name: &str| types.message_index[name];
                kinds.push((path.clone(), kind(method.client_streaming(), method.server_streaming())));
                methods.insert(path, (of(method.input_type()), of(method.output_type())));
            }
        }
        let enums = types.enums.iter().map(|found| EnumType {
            values: found
                .value
                .iter()
                .map(|value| (value.name().to_owned(), value.number()))
                .collect(),
        });
        let enums = enums.collect();
        Schema {
            messages,
            enums,
            #[cfg(test)]
            by_name: types.message_index,
            methods,
            kinds,
        }
    }

    /// Index of a message by its full name with a leading dot, as descriptors write it.
    #[cfg(test)]
    pub(super) fn find(&self, name: &str) -> usize {
        self.by_name[name]
    }
}

fn kind(requests: bool, answers: bool) -> &'static str {
    match (requests, answers) {
        (false, false) => "unary",
        (false, true) => "server_stream",
        (true, false) => "client_stream",
        (true, true) => "bidi_stream",
    }
}

/// Types with their full names, while the schema is built.
#[derive(Default)]
struct Types<'a> {
    messages: Vec<(String, &'a DescriptorProto)>,
    message_index: HashMap<String, usize>,
    enums: Vec<&'a EnumDescriptorProto>,
    enum_index: HashMap<String, usize>,
}

impl<'a> Types<'a> {
    fn add_enum(&mut self, scope: &str, found: &'a EnumDescriptorProto) {
        self.enum_index
            .insert(format!("{scope}.{}", found.name()), self.enums.len());
        self.enums.push(found);
    }

    fn add_message(&mut self, scope: &str, found: &'a DescriptorProto) {
        let name = format!("{scope}.{}", found.name());
        self.message_index.insert(name.clone(), self.messages.len());
        self.messages.push((name.clone(), found));
        found.enum_type.iter().for_each(|inner| self.add_enum(&name, inner));
        found
            .nested_type
            .iter()
            .for_each(|inner| self.add_message(&name, inner));
    }

    fn build(&self, name: &str, found: &DescriptorProto) -> MessageType {
        let mut message = MessageType::default();
        for field in &found.field {
            let index = message.fields.len();
            message.by_name.insert(field.name().to_owned(), index);
            message.by_name.insert(field.json_name().to_owned(), index);
            let union = field.oneof_index.map(|union| found.oneof_decl[union as usize].name());
            message.fields.push(Field {
                number: field.number() as u32,
                name: field.name().to_owned(),
                json_name: field.json_name().to_owned(),
                kind: self.kind(field),
                repeated: field.label() == Label::Repeated,
                oneof: union.map(|union| format!("{}.{union}", name.trim_start_matches('.'))),
            });
        }
        message
    }

    fn kind(&self, field: &FieldDescriptorProto) -> Kind {
        match field.r#type() {
            Type::Bool => Kind::Bool,
            Type::Int32 => Kind::Int32,
            Type::Int64 => Kind::Int64,
            Type::Uint32 => Kind::Uint32,
            Type::Uint64 => Kind::Uint64,
            Type::String => Kind::String,
            Type::Bytes => Kind::Bytes,
            Type::Enum => Kind::Enum(self.enum_index[field.type_name()]),
            Type::Message => Kind::Message(self.message_index[field.type_name()]),
            other => panic!("the API has no fields of type {other:?}"),
        }
    }
}
