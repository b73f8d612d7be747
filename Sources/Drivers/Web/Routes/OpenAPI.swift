import BrambleAPI

/// `/openapi.json`, made from the route table.
enum OpenAPI {
    static let document: [UInt8] = Message.json(describe(RouteTable.all))

    static func describe(_ routes: [Route]) -> JSONValue {
        var paths: [String: [String: JSONValue]] = [:]
        var schemas: [String: JSONValue] = [:]
        collect(.of(ErrorBody.self), &schemas)
        schemas["Error"] = schemas.removeValue(forKey: "ErrorBody")
        for route in routes {
            paths[route.path, default: [:]][route.method.lowercased()] = operation(route, &schemas)
        }
        return .object([
            "openapi": .string("3.1.0"),
            "info": .object([
                "title": .string("Bramble"), "version": .string("1"),
                "description": .string(
                    "The HTTP API of every Bramble node. Fields may be added; none is dropped or changes its meaning. "
                        + "An error is {\"error\": {\"problem\", \"remedy\", \"kind\"}} with a fitting status."),
            ]),
            "paths": .object(paths.mapValues { .object($0) }),
            "components": .object([
                "schemas": .object(schemas),
                "securitySchemes": .object([
                    "token": .object(["type": .string("http"), "scheme": .string("bearer")]),
                    "session": .object([
                        "type": .string("apiKey"), "in": .string("cookie"), "name": .string("bramble-PORT"),
                    ]),
                ]),
            ]),
        ])
    }

    private static func operation(_ route: Route, _ schemas: inout [String: JSONValue]) -> JSONValue {
        var content: [String: JSONValue] = [:]
        var about = ""
        for answer in route.answers {
            switch answer {
            case .json(let schema, let text):
                content["application/json"] = .object(["schema": reference(schema, &schemas)])
                if about.isEmpty { about = text }
            case .other(let type, let text):
                content[type] = .object(["schema": .object(type.hasPrefix("text/") ? ["type": .string("string")] : [:])]
                )
                if about.isEmpty { about = text }
            case .nothing(let text): about = text
            }
        }
        var success: [String: JSONValue] = ["description": .string(about)]
        if !content.isEmpty { success["content"] = .object(content) }
        let failure = JSONValue.object([
            "description": .string("A problem and its remedy"),
            "content": .object([
                "application/json": .object(["schema": .object(["$ref": .string("#/components/schemas/Error")])])
            ]),
        ])
        var parameters = route.path.split(separator: "/").filter { $0.first == "{" }.map { segment in
            JSONValue.object([
                "name": .string(String(segment.dropFirst().dropLast())), "in": .string("path"),
                "required": .bool(true), "schema": .object(["type": .string("string")]),
            ])
        }
        parameters += route.query.map { parameter in
            .object([
                "name": .string(parameter.name), "in": .string("query"), "required": .bool(false),
                "description": .string(parameter.about), "schema": json(parameter.schema, naming: nil),
            ])
        }
        var operation: [String: JSONValue] = [
            "summary": .string(route.summary),
            "responses": .object(["\(route.status)": .object(success), "default": failure]),
        ]
        if !parameters.isEmpty { operation["parameters"] = .array(parameters) }
        if let body = route.body {
            operation["requestBody"] = .object([
                "required": .bool(true),
                "content": .object(["application/json": .object(["schema": reference(body, &schemas)])]),
            ])
        }
        if let type = route.upload {
            operation["requestBody"] = .object([
                "required": .bool(true),
                "content": .object([
                    type: .object(["schema": .object(["type": .string("string"), "format": .string("binary")])])
                ]),
            ])
        }
        operation["security"] =
            if case .anyone = route.access {
                .array([])
            } else {
                .array([.object(["token": .array([])]), .object(["session": .array([])])])
            }
        return .object(operation)
    }

    /// Objects are described once, by name.
    private static func reference(_ schema: Schema, _ schemas: inout [String: JSONValue]) -> JSONValue {
        collect(schema, &schemas)
        return json(schema, naming: [])
    }

    private static func collect(_ schema: Schema, _ schemas: inout [String: JSONValue]) {
        switch schema {
        case .list(let item), .map(let item): collect(item, &schemas)
        case .object(let name, let fields):
            guard schemas[name] == nil else { return }
            schemas[name] = json(schema, naming: nil)
            for field in fields { collect(field.schema, &schemas) }
        default: break
        }
    }

    /// Optional fields may also be null.
    private static func orNull(_ schema: JSONValue) -> JSONValue {
        guard case .object(var members) = schema, !members.isEmpty else { return schema }
        guard let type = members["type"] else {
            return .object(["anyOf": .array([schema, .object(["type": .string("null")])])])
        }
        members["type"] = .array([type, .string("null")])
        if case .array(let choices)? = members["enum"] { members["enum"] = .array(choices + [.null]) }
        return .object(members)
    }

    /// `naming` nil: the outermost object is written out.
    private static func json(_ schema: Schema, naming: [String]?) -> JSONValue {
        switch schema {
        case .text(let choices):
            var type: [String: JSONValue] = ["type": .string("string")]
            if !choices.isEmpty { type["enum"] = .array(choices.map { .string($0) }) }
            return .object(type)
        case .whole: return .object(["type": .string("integer")])
        case .number: return .object(["type": .string("number")])
        case .truth: return .object(["type": .string("boolean")])
        case .anything: return .object([:])
        case .list(let item): return .object(["type": .string("array"), "items": json(item, naming: [])])
        case .map(let item):
            return .object(["type": .string("object"), "additionalProperties": json(item, naming: [])])
        case .object(let name, let fields):
            if naming != nil { return .object(["$ref": .string("#/components/schemas/\(name)")]) }
            return .object([
                "type": .string("object"),
                "properties": .object(
                    Dictionary(
                        fields.map { field in
                            let schema = json(field.schema, naming: [])
                            return (field.name, field.isRequired ? schema : orNull(schema))
                        }, uniquingKeysWith: { first, _ in first })),
                "required": .array(fields.filter(\.isRequired).map { .string($0.name) }),
            ])
        }
    }
}
