import BrambleAPI
import FoundationEssentials
import Primitives
import Reactor
import TestSupport
import Testing
import WebTestSupport

@testable import Web

@Suite("the table of routes is the truth")
struct RouteTests {
    /// What to send to each route that needs more than its path.
    private static let bodies = [
        "POST /v1/nodes": #"{"name":"new"}"#, "POST /v1/probe": #"{"host":"10.0.0.9"}"#,
        "POST /v1/tokens": #"{"name":"ci"}"#, "POST /login": #"{"user":"admin","password":"correct horse"}"#,
        "POST /v1/sql": #"{"statement":"select 1","params":[1,"a",null,true,{"blob":"AAE="}]}"#,
        "POST /v1/services/{name}/move": #"{"to":"node2"}"#,
        "POST /v1/apply": #"{"document":"services: []","name":"f.yaml","dryRun":true}"#,
        "POST /v1/nodes/{name}/labels": #"{"set":{"role":"web"},"remove":[]}"#,
        "POST /v1/locks/{name}/release": #"{"epoch":4}"#,
        "POST /v1/clock": #"{"on":true}"#,
        "POST /v1/volumes": #"{"name":"films","replica":3,"path":"/data/films"}"#,
        "POST /v1/volumes/{name}/bricks": #"{"add":["node4"],"remove":["node2"]}"#,
        "POST /v1/database/release": #"{"of":"node2"}"#,
        "POST /v1/restore": "SQLite format 3\0 as a backup",
        "POST /v1/password": #"{"current":"correct horse","password":"battery staple"}"#,
    ]

    @Test("every route is in /openapi.json, answers with the status it says there, and with JSON of that shape")
    func everyRoute() async throws {
        for route in RouteTable.all {
            let cluster = clusterWithToken()
            cluster.wait("new", code: "AAAA BBBB CCCC")
            cluster.stock()
            cluster.serve()
            cluster.change { $0.tokens["node2"] = "another" }  // so that the token “node2” can be revoked
            try await withServer(cluster) { _, address in
                let document = try await request("GET", "/openapi.json", at: address, headers: [bearer])
                guard case .object(let api) = try JSONReader.read(document.body),
                    case .object(let paths)? = api["paths"],
                    case .object(let operations)? = paths[route.path],
                    case .object(let operation)? = operations[route.method.lowercased()],
                    case .object(let responses)? = operation["responses"]
                else {
                    Issue.record("\(route.method) \(route.path) is not described")
                    return
                }
                #expect(operation["summary"] == .string(route.summary))
                #expect(responses["\(route.status)"] != nil && responses["default"] != nil)
                #expect((operation["requestBody"] != nil) == (route.body != nil || route.upload != nil))

                for answer in route.answers { try await check(route, answer, at: address) }
            }
        }
    }

    private func check(_ route: Route, _ answer: Route.Answer, at address: WebAddress) async throws {
        let path = route.path.replacing("{name}", with: "node2").replacing("{table}", with: "articles")
            .replacing("services/node2", with: "services/files").replacing("mirrors/node2", with: "mirrors/samba")
            .replacing("volumes/node2", with: "volumes/shared")
            .replacing("{id}", with: "p1")
        let name = "\(route.method) \(path)"
        switch answer {
        case .json(let schema, _):
            let reply = try await request(
                route.method, path, at: address, headers: [bearer], body: Self.bodies["\(route.method) \(route.path)"])
            #expect(reply.status == route.status, "\(name): \(reply.text)")
            #expect(reply.header("Content-Type") == "application/json")
            let value = try JSONReader.read(reply.body)
            #expect(schema.mismatch(in: value) == nil, "\(name): \(reply.text)")
        case .nothing:
            let reply = try await request(route.method, path, at: address, headers: [bearer])
            #expect(reply.status == route.status && reply.body.isEmpty, "\(name)")
        case .other("text/event-stream", _):
            let head = try await blocking {
                let connection = try RawConnection(to: address)
                try connection.send(
                    "GET \(path) HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nAccept: text/event-stream\r\n\r\n"
                )
                return try connection.readHead()
            }
            // Locks are held by processes of the node's own machine: not with a token.
            if route.path == "/v1/locks/{name}/hold" {
                #expect(head.status == 403)
                return
            }
            #expect(head.status == route.status && head.header("Content-Type") == "text/event-stream", "\(name)")
        case .other(let type, _):
            var headers = [bearer]
            // Pages for people are for sessions; a token may see them too.
            headers.append(("Accept", type))
            let reply = try await request(route.method, path, at: address, headers: headers)
            #expect(reply.status == route.status, "\(name)")
            #expect(reply.header("Content-Type")?.hasPrefix(type) == true, "\(name)")
            #expect(!reply.body.isEmpty)
        }
    }

    @Test("every reference in /openapi.json leads somewhere, and fields that may be left out may be null")
    func references() {
        var wanted: Set<String> = []
        func walk(_ value: JSONValue) {
            switch value {
            case .object(let members):
                if case .string(let reference)? = members["$ref"] { wanted.insert(reference) }
                members.values.forEach(walk)
            case .array(let values): values.forEach(walk)
            default: break
            }
        }
        let document = OpenAPI.describe(RouteTable.all)
        walk(document)
        guard case .object(let api) = document, case .object(let components)? = api["components"],
            case .object(let schemas)? = components["schemas"], case .object(let move)? = schemas["MoveRequest"],
            case .object(let fields)? = move["properties"]
        else {
            Issue.record("no schemas")
            return
        }
        #expect(wanted.count > 20)
        #expect(wanted.subtracting(schemas.keys.map { "#/components/schemas/\($0)" }) == [])
        #expect(fields["to"] == .object(["type": .array([.string("string"), .string("null")])]))
    }

    @Test("what scripts rely on is there, by name")
    func promises() {
        let promised = [
            "GET /", "GET /health", "GET /v1/nodes", "GET /v1/events", "GET /v1/status", "POST /v1/nodes",
            "DELETE /v1/nodes/{name}", "GET /metrics", "GET /openapi.json", "POST /v1/sql", "GET /v1/watch/{table}",
        ]
        let routes = Set(RouteTable.all.map { "\($0.method) \($0.path)" })
        #expect(routes.isSuperset(of: promised))
        let nodes = Schema.of(NodeInfo.self)
        guard case .object("NodeInfo", let fields) = nodes else {
            Issue.record("\(nodes)")
            return
        }
        let names = Set(fields.map(\.name))
        #expect(
            names.isSuperset(of: [
                "name", "id", "address", "port", "state", "phi", "threshold", "incarnation", "since", "self", "version",
            ]))
    }

    @Test("schemas come from the types themselves")
    func schemas() {
        let expected = Schema.object(
            name: "Explanation",
            fields: [
                .init(name: "subject", schema: .text(choices: []), isRequired: true),
                .init(name: "answer", schema: .text(choices: []), isRequired: true),
                .init(
                    name: "because",
                    schema: .list(
                        .object(
                            name: "Reason",
                            fields: [
                                .init(name: "at", schema: .text(choices: []), isRequired: true),
                                .init(name: "text", schema: .text(choices: []), isRequired: true),
                                .init(name: "figures", schema: .map(.anything), isRequired: true),
                            ])), isRequired: true),
            ])
        #expect(Schema.of(Explanation.self) == expected)
        guard case .object(_, let fields) = Schema.of(NodeInfo.self) else {
            Issue.record("not an object")
            return
        }
        let phi = fields.first { $0.name == "phi" }
        #expect(phi == .init(name: "phi", schema: .number, isRequired: false))
        let state = fields.first { $0.name == "state" }
        #expect(state?.schema == .text(choices: ["alive", "suspect", "down", "left"]))
    }
}

@Suite("JSON from clients is read strictly")
struct JSONReaderTests {
    @Test(
        "what is JSON is read",
        arguments: [
            ("null", JSONValue.null), (" [ ] ", .array([])), ("-0", .integer(0)), ("1e3", .number(1000)),
            (#""\u00e9\ud83c\udf47\n""#, .string("é🍇\n")),
            (
                #"{"a":{"b":[1,2.5,true]}}"#,
                .object(["a": .object(["b": .array([.integer(1), .number(2.5), .bool(true)])])])
            ),
            ("9223372036854775808", .number(9_223_372_036_854_775_808)),
        ])
    func good(text: String, value: JSONValue) throws {
        #expect(try JSONReader.read(Array(text.utf8)) == value)
    }

    @Test(
        "what is none is refused at its place",
        arguments: [
            ("[1,]", 1, 4), ("{\"é\":1,}", 1, 8), ("[\n\n  tru]", 3, 3), ("01", 1, 2), ("1.", 1, 3),
            ("\"\u{01}\"", 1, 2),
            ("\"\\ud800\"", 1, 8), ("\"\\q\"", 1, 3), ("+1", 1, 1), ("NaN", 1, 1), ("{\"a\" 1}", 1, 6), ("1e999", 1, 6),
        ])
    func bad(text: String, line: Int, column: Int) {
        let problem = #expect(throws: JSONProblem.self) { try JSONReader.read(Array(text.utf8)) }
        #expect(problem?.line == line && problem?.column == column, "\(String(describing: problem))")
    }

    @Test("bytes that are no text, and nesting without end, are refused")
    func hostile() {
        #expect(throws: JSONProblem.self) { try JSONReader.read([0x22, 0xFF, 0x22]) }
        #expect(throws: JSONProblem.self) { try JSONReader.read([0x22, 0xC0, 0x80, 0x22]) }
        #expect(throws: JSONProblem.self) { try JSONReader.read([UInt8](repeating: UInt8(ascii: "["), count: 1 << 20)) }
    }

    @Test("junk never traps, and what both readers take means the same to both")
    func junk() throws {
        var chance = SeededGenerator(seed: 7)
        let start = Array(#"{"name":"a\u00e9","list":[1,-2.5e3,true,null,{"x":""}],"n":12}"#.utf8)
        var taken = 0
        for _ in 0..<20_000 {
            var bytes = start
            for _ in 0...(chance.next() % 3) {
                let place = Int(chance.next() % UInt64(bytes.count))
                switch chance.next() % 4 {
                case 0: bytes[place] = UInt8(truncatingIfNeeded: chance.next())
                case 1: bytes.remove(at: place)
                case 2: bytes.insert(bytes[Int(chance.next() % UInt64(bytes.count))], at: place)
                default: bytes = Array(bytes[..<place])
                }
                if bytes.isEmpty { bytes = [0x20] }
            }
            guard let value = try? JSONReader.read(bytes) else { continue }
            taken += 1
            let other = try JSONDecoder().decode(JSONValue.self, from: Data(bytes))
            try #require(Self.plain(other) == Self.plain(value), "\(String(decoding: bytes, as: UTF8.self))")
        }
        #expect(taken > 500)
    }

    /// 25e2 may be a whole number or not: both are right.
    private static func plain(_ value: JSONValue) -> JSONValue {
        switch value {
        case .integer(let number): .number(Double(number))
        case .array(let items): .array(items.map(plain))
        case .object(let members): .object(members.mapValues(plain))
        default: value
        }
    }
}
