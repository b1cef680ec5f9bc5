//! What a schema in the contract's form can get.

use super::{Entry, Problem, Severity};

catalogue! {
    // The descriptor set.

    /// The bytes are something else than descriptors.
    Fault not_a_descriptor_set(error)
        "not a google.protobuf.FileDescriptorSet: {error}",
        "send the bytes that the compiler wrote: `protoc --include_imports --include_source_info \
         --descriptor_set_out=FILE`, or `buf build -o FILE`";
    /// There is no file in it.
    Fault empty_descriptor_set()
        "the descriptor set is empty",
        "send the bytes that the compiler wrote: `protoc --include_imports --include_source_info \
         --descriptor_set_out=FILE`, or `buf build -o FILE`";
    /// A file imports another that was left out. (Those of google.protobuf, google.rpc and kubridge.v1 are known.)
    Fault missing_import(import)
        "imports {import}, which is not in the descriptor set",
        "include all imports: `protoc --include_imports`, or `buf build`";
    /// The descriptors are no whole: a type is missing or stands there twice.
    Fault inconsistent_descriptors(error)
        "the descriptors contradict themselves: {error}",
        "compile the files together with protoc or buf, which names the place";
    /// An option of ours is not what api.proto says it is.
    Fault undecodable_option(option, error)
        "({option}) cannot be decoded: {error}",
        "compile with the api.proto of this Kubridge";
    /// api.proto is imported and nothing is annotated: a server's reflection lost the options on the way.
    Fault options_stripped()
        "imports kubridge/v1/api.proto, but no option of it is in the descriptors: the server's reflection strips \
         custom options",
        "implement kubridge.v1.Schema in the backend, or give Kubridge the file: `--descriptor-set FILE`";
    /// Nothing is annotated, and api.proto is not imported either.
    Fault no_resource()
        "no message is a resource",
        "import kubridge/v1/api.proto and write `option (kubridge.v1.resource) = {{}};` in a message; or annotate messages \
         with google.api.resource (AIP-123); or say in a mapping file (`--mapping FILE`) which messages are resources";

    // What a resource is called.

    /// Neither the file nor the message says which API a resource belongs to.
    Fault no_group_version(kind, missing)
        "{kind} has no {missing}",
        "write `option (kubridge.v1.api) = {{ group: \"inventory.example.com\" version: \"v1\" }};` in the file";
    /// A group is no DNS name.
    Fault bad_group(group)
        "{group:?} is not an API group",
        "write a DNS name in lower case that you own, such as \"inventory.example.com\"";
    /// A version has another form than Kubernetes'.
    Fault bad_version(version)
        "{version:?} is not a Kubernetes API version",
        "write `v`, a number, and optionally `alpha` or `beta` and a number: \"v1\", \"v1beta1\"";
    /// A kind is not in CamelCase.
    Fault bad_kind(kind)
        "{kind:?} is not a kind",
        "write CamelCase letters and digits, at most 63, such as \"Machine\"";
    /// Every group-version has this kind already (meta/v1), or clients take it for something else.
    Fault reserved_kind(kind)
        "{kind} is a kind of Kubernetes itself, in every group",
        "write another `kind`";
    /// A plural, singular, short name, category or subresource cannot stand in a path.
    Fault not_a_label(name, example)
        "{name:?} is not a DNS label",
        "write lower-case letters, digits and `-`, beginning with a letter, at most 63, such as {example:?}";
    /// A path with this plural means something else.
    Fault reserved_plural(plural)
        "{plural:?} has a meaning of its own in Kubernetes' paths",
        "write another `plural`";
    /// Two resources of one group and version have one kind, or one is called as the other's list.
    Fault kind_twice(first, second, kind)
        "{first} and {second} both have the kind {kind}",
        "write another `kind` in one of them";
    /// Two resources of one group and version have one plural.
    Fault plural_twice(first, second, plural)
        "{first} and {second} both have the plural {plural:?}",
        "write another `plural`";
    /// A name of a resource is another's already: kubectl could not tell them apart.
    Fault name_taken(name, taken_as, other, field)
        "{name:?} is a name ({taken_as}) of {other} too",
        "write another `{field}`";
    /// A newer api.proto has it.
    Fault unknown_scope(number)
        "{number} is no scope that this Kubridge knows",
        "write NAMESPACED or CLUSTER";
    /// A newer api.proto has it.
    Fault unknown_lifecycle(number)
        "{number} is no lifecycle that this Kubridge knows",
        "write MANAGED or BACKEND";

    // How a resource is made.

    /// A resource without `metadata`, and with something else in its place.
    Fault no_metadata_but_another(first)
        "a resource has no metadata, and field 1 is {first}",
        "write `kubridge.v1.ObjectMeta metadata = 1;` and give {first} another number";
    /// A resource without `metadata`.
    Fault no_metadata()
        "a resource has no metadata",
        "write `kubridge.v1.ObjectMeta metadata = 1;`";
    /// `metadata` has another type, or is a list.
    Fault metadata_type()
        "metadata is not one kubridge.v1.ObjectMeta",
        "write `kubridge.v1.ObjectMeta metadata = 1;`";
    /// `metadata` has another number than Kubernetes'.
    Fault metadata_number(number)
        "metadata is field {number}, not 1",
        "write `kubridge.v1.ObjectMeta metadata = 1;`";
    /// `spec` or `status` has another number than Kubernetes'.
    Fault part_number(part, number, expected, type_name)
        "{part} is field {number}, not {expected}",
        "write `{type_name} {part} = {expected};`, a message";
    /// `spec` or `status` is a scalar, a list or a map.
    Fault part_type(part, expected, type_name)
        "{part} is not one message",
        "write `{type_name} {part} = {expected};`, a message";
    /// `metadata`, `spec` or `status` has another name in JSON.
    Fault part_json_name(part, json_name)
        "{part} has the JSON name {json_name:?}",
        "leave out `json_name`";
    /// A field would be `apiVersion` or `kind` in JSON.
    Fault own_type_meta(json_name)
        "a resource has a field {json_name} of its own",
        "leave it out: Kubridge writes apiVersion and kind";
    /// A column without a heading.
    Fault column_unnamed()
        "a column has no name",
        "write `name`, its heading: \"Serial\"";
    /// Two columns with one heading.
    Fault column_twice(name)
        "two columns are called {name:?}",
        "give each its own `name`";
    /// A column's path does not begin with a dot, has a bracket too many, goes on after a scalar, or names no field.
    Fault column_path(path, why)
        "the path {path:?} {why}",
        "write a JSONPath from the object, in JSON names: \".spec.serial\"";
    /// A column has a type that Kubernetes' tables do not know.
    Fault column_type(name)
        "{name:?} is not a type of a column",
        "write string, integer, number, boolean or date, or leave `type` out";
    /// A field for fieldSelectors is not there, or is no scalar.
    Fault selectable_path(path, why)
        "the path {path:?} {why}",
        "write the path of one scalar field, in JSON names: \".spec.rack\"";

    // Fields.

    /// Two fields of a message have one name in JSON.
    Fault field_name_twice(field, other, name)
        "{field} and {other} are both {name:?} in JSON",
        "rename one, or give it a `json_name`";
    /// Two values of an enum have one name in JSON.
    Fault value_name_twice(value, other, name)
        "{value} and {other} are both {name:?} in JSON",
        "rename one, or write `[(kubridge.v1.value) = {{name: \"...\"}}]`";
    /// A value's name in JSON is another value's name in proto, which JSON may use too.
    Fault value_is_a_proto_name(value, name)
        "{value} is {name:?} in JSON, which is another value's proto name",
        "write another `[(kubridge.v1.value) = {{name: \"...\"}}]`";
    /// A newer api.proto has it.
    Fault unknown_list_type(number)
        "{number} is no list type that this Kubridge knows",
        "write ATOMIC, SET or MAP";
    /// `list_type` of a field that is not repeated.
    Fault list_type_of_no_list()
        "list_type on what is no list",
        "leave `list_type` out";
    /// Keys of a list that is no MAP.
    Fault keys_without_map()
        "list_map_keys without MAP",
        "write `list_type: MAP`";
    /// A SET holds scalars only.
    Fault set_of_messages()
        "a SET of messages",
        "write `list_type: MAP` with its keys, or ATOMIC";
    /// A MAP holds messages only.
    Fault map_of_scalars()
        "a MAP of scalars",
        "write `list_type: SET`";
    /// A MAP that does not say what its elements are told apart by.
    Fault map_without_keys()
        "a MAP without keys",
        "write `list_map_keys`: the fields that make the key";
    /// A key of a MAP is not in its elements, or is no scalar.
    Fault bad_map_key(key, element)
        "the key {key:?} is no scalar field of {element}",
        "write the fields' JSON names";

    // Which method does what.

    /// A resource that no method mentions.
    Fault no_method(kind, message)
        "no method belongs to {kind}",
        "write `rpc List{kind}(kubridge.v1.ListRequest) returns (List{kind}Response);` in a service, with \
         `kubridge.v1.ListMeta metadata = 1; repeated {message} items = 2;`";
    /// List is the one method that nothing can be made without.
    Fault no_list(kind, message)
        "{kind} has no List",
        "write `rpc List{kind}(kubridge.v1.ListRequest) returns (List{kind}Response);` in a service, with \
         `kubridge.v1.ListMeta metadata = 1; repeated {message} items = 2;`";
    /// A resource without List, beside a method that looks as if it should be it.
    Fault misnamed_list(kind, method, name)
        "{kind} has no List, and {method} looks like one",
        "rename {method} {name}, or write `option (kubridge.v1.method) = {{ verb: LIST kind: \"{kind}\" }};` in it";
    /// Two methods do the same.
    Fault bound_twice(verb, plural, other)
        "{verb} of {plural} is bound twice: {other} does it too",
        "write `option (kubridge.v1.method) = {{ ignore: true }};` in one of them";
    /// A method's name fits two kinds, or two verbs.
    Fault ambiguous_name(readings, verb, kind)
        "the name can be read as {readings}",
        "write `option (kubridge.v1.method) = {{ verb: {verb} kind: \"{kind}\" }};`";
    /// A method's name fits one kind that stands in one package twice.
    Fault ambiguous_package(readings)
        "the name can be read as {readings}",
        "put each resource and its service into a package of their own";
    /// `ignore` beside anything else.
    Fault ignored_and_described()
        "is ignored, and says what it is all the same",
        "write only `ignore: true`, or leave `ignore` out";
    /// A newer api.proto has it.
    Fault unknown_verb(number)
        "{number} is no verb that this Kubridge knows",
        "write one of api.proto's verbs";
    /// An annotated method without `verb`, whose name does not begin with one.
    Fault no_verb()
        "neither the name nor the option says the verb",
        "write `verb`: GET, LIST, WATCH, CREATE, UPDATE, DELETE or DELETE_COLLECTION";
    /// `kind` is nobody's.
    Fault unknown_kind(kind, kinds)
        "no message is a resource of kind {kind:?}",
        "write `kind`, one of: {kinds}";
    /// An annotated method without `kind`, which neither its name nor its messages mention.
    Fault no_kind(kinds)
        "nothing says which resource it belongs to",
        "write `kind`, one of: {kinds}";
    /// An annotated method that several resources fit.
    Fault several_kinds(kinds)
        "may belong to {kinds}",
        "write `kind`, or, where it is one kind, put each resource and its service into a package of their own";
    /// Of the status only the update is a method.
    Fault status_verb(verb)
        "{verb} of the status subresource",
        "write `verb: UPDATE`; Kubridge makes get and patch of the status itself";
    /// A method updates a status that the resource has not.
    Fault no_status(resource, message)
        "{resource} has no status",
        "write `{message}Status status = 3;` in {message}";
    /// An action with the name of Kubernetes' subresource.
    Fault scale_action()
        "scale is Kubernetes' own subresource, not an action",
        "write another `subresource`";
    /// A subresource has no collection.
    Fault subresource_verb(verb)
        "{verb} of a subresource",
        "write CREATE (POST), GET, UPDATE (PUT) or DELETE";
    /// Many objects cannot be removed at once while their finalizers are Kubridge's business.
    Fault managed_delete_collection(kind, message)
        "DELETE_COLLECTION of {kind}, whose metadata Kubridge manages",
        "leave it out (Kubridge lists and deletes each), write `ignore: true`, or `lifecycle: BACKEND` in {message}";
    /// No request of Kubernetes is a stream.
    Fault streams_requests()
        "takes a stream of requests",
        "take one request: `rpc M(Request) returns (...)`";
    /// A watch with one answer.
    Fault watch_does_not_stream()
        "a watch does not stream",
        "write `returns (stream ...)`";
    /// A stream where there is one answer.
    Fault streams(verb)
        "a {verb} streams",
        "leave out `stream`: only list, watch and actions may";

    // Requests and answers.

    /// The object to be written has no place in the request.
    Fault no_place_for_object(request, kind, message)
        "the request {request} has no place for the {kind}",
        "put a field of type {message} into it, or make {message} the request";
    /// Which object is meant has no place in the request.
    Fault no_place_for_name(request, standard)
        "the request {request} has no place for the object's name",
        "write `string name`, or make {standard} the request";
    /// The namespace has no place in the request.
    Fault no_place_for_namespace(request, kind)
        "the request {request} has no place for the namespace",
        "write `string namespace`, or, where {kind} lives in none, `scope: CLUSTER`";
    /// The request of an action has no place for what its URL says.
    Fault no_place_in_action(request, part, bind)
        "the request {request} has no place for the object's {part}",
        "write `string {part}`, or mark another field `[(kubridge.v1.field) = {{bind: {bind}}}]`";
    /// A field of a request is nothing that Kubernetes' requests have.
    Fault unbound_field(field)
        "nothing binds {field}",
        "give it the name or type of a part of the request (namespace, name, label_selector, ..., \
         kubridge.v1.*Options), or write `[(kubridge.v1.field) = {{bind: NONE}}]`";
    /// A message in a request is neither the resource nor options.
    Fault unbound_message(field, found, kind, message)
        "nothing binds {field}: {found} is not the {kind}",
        "make it one {message}, or write `[(kubridge.v1.field) = {{bind: NONE}}]`";
    /// A field of a request is a part of other verbs' requests.
    Fault field_of_another_verb(field, verb, plural)
        "nothing binds {field}: {verb} of {plural} has no such part",
        "leave it out, or write `[(kubridge.v1.field) = {{bind: NONE}}]`";
    /// A GET action with fields that only a body could fill.
    Fault get_has_no_body(field)
        "nothing binds {field}: a GET has no body",
        "write `verb: CREATE`, leave the field out, or write `[(kubridge.v1.field) = {{bind: NONE}}]`";
    /// A field has the name of a part of the request, and another type.
    Fault wrong_type(field, declaration, bind)
        "{field} has not the type that its name promises",
        "write `{declaration}`, or `[(kubridge.v1.field) = {{bind: {bind}}}]`";
    /// Two fields of a request would get one value.
    Fault same_value(first, second)
        "{first} and {second} get the same value",
        "leave one out, or write `[(kubridge.v1.field) = {{bind: NONE}}]`";
    /// The body of a standard verb is the object.
    Fault bound_body(field, message)
        "bind: BODY, but {field} is not the {message}",
        "make it a {message}; other bodies only an action has";
    /// A newer api.proto has it.
    Fault unknown_bind(number)
        "{number} is no binding that this Kubridge knows",
        "write BODY, NONE, NAMESPACE or NAME";
    /// Get, Create and Update answer with the object.
    Fault wrong_answer(verb, answer, kind, message)
        "{verb} answers with {answer}, not with the {kind}",
        "write `returns ({message})`";
    /// A List whose answer has no version.
    Fault list_metadata(answer)
        "the answer {answer} has no ListMeta in field 1",
        "write `kubridge.v1.ListMeta metadata = 1;`";
    /// A List whose answer has no objects.
    Fault list_items(answer, message)
        "the answer {answer} has no list of {message} in field 2",
        "write `repeated {message} items = 2;`";
    /// A Watch whose answers are no events.
    Fault event_shape(answer, problem, number, type_name, name)
        "the answer {answer} has not the shape of kubridge.v1.Event: it {problem} in field {number}",
        "write `{type_name} {name} = {number};`";

    // Advice.

    /// A method whose name is nearly a verb and a kind, or says the verb in another word.
    Advice near_miss(verb, kind, name, option)
        "is not served: its name looks like {verb} of {kind}, and is not {name}",
        "rename it {name}, or write `option (kubridge.v1.method) = {{ verb: {option} kind: \"{kind}\" }};`, or \
         `{{ ignore: true }}` where that is meant";
    /// A method that updates the status by its name alone.
    Advice unbound_status_update()
        "is not served: its name is no verb and kind, and it has no option",
        "write `option (kubridge.v1.method) = {{ verb: UPDATE subresource: \"status\" }};`";
    /// A method of a service that serves a resource, and does nothing for it.
    Advice unbound_method()
        "is not served: its name is no verb and kind, and it has no option",
        "write `option (kubridge.v1.method) = {{ verb: CREATE subresource: \"...\" }};`, or `{{ ignore: true }}` \
         where that is meant";
    /// A scalar of the status without presence: false and 0 are not written.
    Advice zero_left_out()
        "a zero of it is left out of JSON, where `kubectl wait` looks for it",
        "write `[(kubridge.v1.field) = {{emit_zero: true}}]`, or make it `optional`";
    /// Between a read and a delete somebody may write.
    Advice unconditional_delete()
        "the request of Delete has no place for the version that was read: deletes cannot be conditional",
        "put `kubridge.v1.DeleteOptions options` into it";
    /// A group that is one word.
    Advice group_without_dot(group)
        "the group {group:?} has no dot: it may collide with Kubernetes' own",
        "write a DNS name that you own, such as \"inventory.example.com\"";
    /// The schema is without source info.
    Advice no_comments()
        "there are no comments in the descriptors: `kubectl explain` has no text",
        "implement kubridge.v1.Schema, or compile with `--include_source_info`";
}
