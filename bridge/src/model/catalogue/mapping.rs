//! What a mapping can get, and the service that is mapped: google.api's annotations, mapping files, and what follows
//! from them.

use super::{Entry, Problem, Severity};

catalogue! {
    // The text of a mapping file.

    /// The file is no YAML.
    Fault not_yaml(error)
        "is no YAML: {error}",
        "write one document, or several with `---` between them";
    /// There is no document in it.
    Fault empty_mapping_file()
        "is empty",
        "write a document of `kind: Mapping`";
    /// A value is of another type, or none of those that may stand there.
    Fault mapping_value(value, right)
        "is {value}",
        "write {right}";
    /// A value may be written in several ways, and is written in none of them.
    Fault mapping_form(value, forms)
        "{value} is none of its forms",
        "write {forms}";
    /// A field has a name that mapping files do not have.
    Fault mapping_unknown(known)
        "is not known",
        "leave it out; what may stand here: {known}";
    /// A field must be there.
    Fault mapping_missing(form)
        "is missing",
        "write {form}";
    /// A value has the right form and is not taken: a number is too large.
    Fault mapping_unreadable(error)
        "cannot be read: {error}",
        "write a smaller number; docs/aip.md says what each field takes";

    // Which mapping is meant.

    /// The annotation `kubridge.io/mapping` of an APIService names a Mapping that nobody gave.
    Fault no_such_mapping(name, known)
        "there is no Mapping {name:?} (there is {known})",
        "write the annotation kubridge.io/mapping as the metadata.name of a Mapping has it, or add that Mapping to \
         --manifests (or --mapping)";
    /// The annotation `kubridge.io/mapping` of an APIService names two.
    Fault mapping_named_twice(name, first, second)
        "the Mapping {name:?} is there twice: in {first} and in {second}",
        "give one of them another metadata.name";
    /// What the annotation `kubridge.io/mapping` of an APIService names is about another backend.
    Fault mapping_of_another_backend(name)
        "the backend has no message and no kind that the Mapping {name:?} names",
        "write `message` in it: the full name of a message that the backend has; or name another one in the annotation \
         kubridge.io/mapping";
    /// Two Mappings say how one message is a resource, and no annotation says which is meant.
    Fault mapped_twice(message, first, second)
        "{message} is in two mappings: {first} and {second}",
        "leave it out of one, or choose one with the annotation `kubridge.io/mapping: NAME` at the APIService";

    /// No message of the backend is a resource, and what a mapping file names is not there.
    Fault mapping_without_backend(messages)
        "the backend has none of its messages: {messages}",
        "write `message`: the full name of a message that the backend has";
    /// An entry of a mapping file names what the backend does not have, beside one that names what it has.
    Fault no_such_resource(part, name)
        "the backend has no {part} {name:?}",
        "write `message`: its full name, \"library.v1.Book\"";
    /// An entry of a mapping file does not say what it is about.
    Fault names_nothing()
        "neither `message` nor `kind` says which message is meant",
        "write `message`: its full name, \"library.v1.Book\"";

    // The resource.

    /// The service imports Google's annotations and has none: a server's reflection lost the options on the way.
    Fault google_options_stripped()
        "imports google/api/resource.proto, but no option of it is in the descriptors: the server's reflection strips \
         custom options",
        "give Kubridge the descriptors as the compiler wrote them: `--descriptor-set FILE`";
    /// An option of Google's is not what resource.proto says it is.
    Fault undecodable_resource(error)
        "(google.api.resource) cannot be decoded: {error}",
        "compile with google/api/resource.proto as Google publishes it";
    /// The service has types with names of the contract's own, and other contents.
    Fault not_beside_the_contract(error)
        "the descriptors do not go together with the contract's: {error}",
        "rename the types in the package kubridge.v1, which is the contract's";
    /// No part of the package is a version.
    Fault no_version(package)
        "the package {package:?} has no version",
        "write `version` in a mapping file: \"v1\"";
    /// A group is no DNS name.
    Fault mapped_group(group)
        "{group:?} is not an API group",
        "write `group` in a mapping file, a DNS name in lower case: \"library.example.com\"";
    /// A version has another form than Kubernetes'.
    Fault mapped_version(version)
        "{version:?} is not a Kubernetes API version",
        "write `version` in a mapping file: \"v1\", \"v1beta1\"";
    /// A kind is not in CamelCase, or every group-version has it already.
    Fault mapped_kind(kind)
        "{kind:?} cannot be a kind",
        "write `kind` in a mapping file, in CamelCase";
    /// A plural or singular has other characters, or a meaning of its own in Kubernetes' paths.
    Fault mapped_name(name, part)
        "{name:?} cannot stand in a path",
        "write `{part}` in a mapping file, in lower-case letters and digits";

    // Its name.

    /// Objects are told apart by a field that is not there.
    Fault no_name_field()
        "there is no such field: objects have no name",
        "write `names: {{field: ...}}` in a mapping file: the field that tells objects apart";
    /// Objects are told apart by a field that holds no name.
    Fault name_field_type()
        "is no string: it cannot be a resource name",
        "write `names: {{field: ...}}` in a mapping file: the field that tells objects apart";
    /// The namespace is in a field that is not there, or holds none.
    Fault no_namespace_field()
        "there is no such string or number",
        "write `names: {{namespaceField: ...}}` in the mapping file: a field of the message";
    /// An annotated message without a pattern.
    Fault no_pattern()
        "(google.api.resource) has no pattern: which part of a name is the parent's is not known",
        "write `names: {{patterns: [...]}}` in a mapping file: \"publishers/{{publisher}}/books/{{book}}\"";
    /// A pattern that nothing can be taken apart by.
    Fault bad_pattern(why)
        "{why}",
        "write `names: {{patterns: [...]}}` in a mapping file: \"publishers/{{publisher}}/books/{{book}}\"";

    // Its fields.

    /// A mapping file names a field that the message does not have.
    Fault no_such_field(message)
        "{message} has no such field",
        "write the names of fields as the proto has them";
    /// A field of proto2's.
    Fault group_field(field)
        "is a group, which has no place in JSON",
        "write `fields: {{{field}: {{to: nowhere}}}}` in a mapping file";
    /// A field goes where another type belongs.
    Fault misplaced_field(home, type_name)
        "cannot be {home}: it is no {type_name}",
        "write another `to` in the mapping file";
    /// Two fields go to one place.
    Fault place_taken(other, home)
        "{other} is {home} too",
        "write another `to` for one of them in the mapping file";

    // Its methods.

    /// Without a List there is nothing to watch, and nothing to page through.
    Fault nothing_lists(kind)
        "{kind} has no List",
        "write `methods: {{list: {{method: ..., items: ...}}}}` in a mapping file, or a standard List (AIP-132)";
    /// Two methods are the same verb of one resource.
    Fault verb_twice(verb, kind, other)
        "{verb} of {kind} is there twice: {other} does it too",
        "write in a mapping file which is meant: `methods: {{{verb}: {{method: ...}}}}`";
    /// A mapping file names a method that the backend does not have.
    Fault no_such_method(name)
        "the backend has no method {name:?}",
        "write the full name: \"library.v1.LibraryService.GetBook\"";
    /// A stream where there is one answer.
    Fault verb_streams(verb)
        "streams, which a {verb} does not",
        "name another method in the mapping file";
    /// No request of Kubernetes is a stream.
    Fault action_streams_requests()
        "takes a stream of requests",
        "leave it out of the mapping file";

    // Requests.

    /// A mapping file names a field that the request does not have.
    Fault no_such_request_field(request)
        "the request {request} has no such field",
        "write the names of fields as the proto has them";
    /// A field is to be filled with a resource name, and there is none.
    Fault fill_without_patterns()
        "there is no resource name: names have no patterns",
        "write `id` or `namespace` in the mapping file, or `names: {{patterns: [...]}}`";
    /// A field is to be filled with a variable that no pattern has.
    Fault fill_no_such_variable(variable)
        "no pattern has the variable {variable:?}",
        "write one of those that `names` has in the mapping file, without braces";
    /// A field is to be filled with a field that the message does not have.
    Fault fill_no_such_field(message, field)
        "{message} has no field {field:?}",
        "write the names of fields as the proto has them";
    /// A field is to be filled with a value that it cannot have.
    Fault fill_no_such_value(value)
        "{value} is no value of it",
        "write `{{value: ...}}` in the mapping file: a string, number or bool as the field's type is, or the name of an \
         enum's value";
    /// A field is to be filled with something of another type.
    Fault fill_type(wanted)
        "it is no {wanted}",
        "write another value for it in the mapping file";
    /// A service requires a field, and nothing is known of it.
    Fault required_unfilled(verb, field)
        "is REQUIRED, and nothing says what it is filled with",
        "write `methods: {{{verb}: {{request: {{{field}: ...}}}}}}` in a mapping file";
    /// What is to be written does not reach the service.
    Fault object_left_out(method)
        "nothing in the request of {method} is filled from the object",
        "write `request: {{FIELD: object}}` (or `{{field: ...}}`) in a mapping file";
    /// Which object is meant does not reach the service.
    Fault name_left_out(method)
        "nothing in the request of {method} says which object is meant",
        "write `request: {{FIELD: resourceName}}` (or `id`) in a mapping file";

    // Answers.

    /// A Get that answers with something else, and nobody says where the object is in it.
    Fault another_answer(answer, kind)
        "answers with {answer}, not with the {kind}",
        "write `methods: {{get: {{items: ...}}}}` in the mapping file: the field of the answer that is the object";
    /// `items` names what is not the object.
    Fault no_object_in_answer(answer, kind)
        "the answer {answer} has no such {kind}",
        "write in the mapping file which field of the answer is the object";
    /// A List whose answer has no list of objects, or nobody says which.
    Fault no_list_in_answer(answer)
        "which field of {answer} is the list of objects is not known",
        "write `methods: {{list: {{items: ...}}}}` in a mapping file";
    /// `nextPageToken` names what is no token.
    Fault no_token_in_answer(answer)
        "the answer {answer} has no such string",
        "write in the mapping file which field of the answer is the token of the next page";
    /// An operation that ends in something else than the object.
    Fault operation_of_another(ends_in, kind)
        "answers with an operation, and what it ends in ({ends_in:?}) is not the {kind}",
        "write `(google.longrunning.operation_info)` at the method, or `operation` in a mapping file";
    /// An operation that ends in a message that is not there.
    Fault operation_of_nothing(ends_in)
        "ends in {ends_in:?}, which the backend does not have",
        "write `operation` in a mapping file: the full name of what the operation ends in";

    // Advice.

    /// A mapping file of which the backend has nothing, beside what it serves.
    Advice mapping_unused()
        "the backend has none of its messages: it says nothing here",
        "where it is meant for this backend, write `message`: the full name of a message that the backend has";
    /// A mapping file for a backend that keeps the contract.
    Advice mapping_overruled()
        "the backend is annotated with kubridge.v1 itself: what the file says does not count",
        "leave the backend out of the file, or the annotations out of the backend";
    /// A field with both behaviors.
    Advice required_and_output_only(field)
        "is REQUIRED and OUTPUT_ONLY: it is taken for OUTPUT_ONLY, and stands in the status",
        "where clients give it, write `fields: {{{field}: {{to: spec, required: true}}}}` in a mapping file";
    /// Parents make the namespace, which holds 63 characters.
    Advice long_namespaces()
        "objects have three parents or more: where their ids are longer than the 63 characters of a namespace, objects \
         are shown and cannot be made",
        "keep ids short, or name them by a field of their own: `names: {{field: ..., namespaceField: ...}}`";
    /// Between a read and a write somebody may write.
    Advice no_etag()
        "there is no etag: a write is checked against what was read just before, and what changes between the two is \
         overwritten",
        "add `string etag` to the message and to the request of Delete (AIP-154)";
    /// A method of a service that serves a resource, and does nothing for an object of it.
    Advice custom_without_name()
        "is not served: it is no standard method, and its request has no `name` of an object",
        "where it belongs to one, write `actions: {{...}}` in a mapping file";
    /// A custom method of which it is not known what it is a method of.
    Advice custom_of_nobody()
        "is not served: which resource its `name` is of is not known",
        "write `(google.api.resource_reference)` at `name`, or `actions: {{...}}` in a mapping file";
    /// No request of Kubernetes is a stream.
    Advice custom_streams_requests(service)
        "is not served: it takes a stream of requests",
        "call it at {service}";
    /// A custom method whose verb cannot stand in a path, or is Kubernetes' own.
    Advice custom_named_badly(name)
        "is not served: {name:?} cannot be the name of a subresource",
        "write `actions: {{NAME: {{method: ...}}}}` in a mapping file, in lower-case letters, or another verb in \
         `google.api.http`";
    /// Two custom methods of one resource have one name.
    Advice custom_twice(name)
        "is not served: another method is the subresource {name:?}",
        "write `actions: {{NAME: {{method: ...}}}}` in a mapping file, or another verb in `google.api.http`";
}
