import BrambleAPI
import Primitives
import Testing
import WebTestSupport

@testable import Web

/// Everything the API document names is called with what does not fit. The cluster behind it is imagined, so an answer of
/// 500 or more is the server's own mistake, and a change is one that bad input made.
@Suite("bad input, route by route")
struct SweepTests {
    /// Path segments that people, scripts and attackers send instead of a name.
    private static let names = [
        "%00", "%2F", "..%2f..%2fetc", "%FF%FE", "a%0d%0aX:%20y", "%F0%9F%8D%87", "%", "%zz", "-1",
        "'; drop table t --",
        String(repeating: "n", count: 3000),
    ].map { $0.replacing(" ", with: "%20") }

    /// Values that a field of a type cannot be, and some that only look as if they fitted.
    private static let values = [
        "null", "true", "-1", "0", "1.5", "9223372036854775807", "-9223372036854775808", "18446744073709551616",
        "1e308",
        "\"\"", "\"\\u0000\"", "\"..\"", "\"\(String(repeating: "x", count: 70_000))\"", "[]", "{}", "[null]",
        "{\"a\":{}}", String(repeating: "[", count: 40) + String(repeating: "]", count: 40),
    ]
    private static let wholeBodies = [
        "", " ", "{", "[]", "null", "0", "\"text\"", "{}", "{\"\":1}", "{\"name\":\"a\",\"name\":\"b\"}", "{\"x\":1}",
        "\u{FEFF}{}",
        String(repeating: "[", count: 100_000),
    ]

    private func cluster() -> FakeCluster {
        let cluster = clusterWithToken()
        cluster.stock()
        cluster.serve()
        return cluster
    }
    private func path(_ route: Route, _ name: String) -> String {
        route.path.split(separator: "/", omittingEmptySubsequences: false).map {
            $0.first == "{" ? name : String($0)
        }.joined(separator: "/")
    }
    private func isStream(_ route: Route) -> Bool {
        route.answers.contains { if case .other("text/event-stream", _) = $0 { true } else { false } }
    }

    @Test("every route refuses odd names and odd queries in words, and none of them is a server error")
    func names() async throws {
        try await withServer(cluster()) { _, address in
            for route in RouteTable.all {
                for name in Self.names where route.path.contains("{") {
                    let reply = try await request(
                        route.method, path(route, name), at: address, headers: [bearer],
                        body: route.body.map { _ in "{}" })
                    #expect((200..<500).contains(reply.status), "\(route.method) \(path(route, name)): \(reply.text)")
                    if reply.status >= 400 { #expect(reply.text.contains(#""problem":"#)) }
                }
                for query in [
                    "?unknown=1", "?since=x", "?since=-1", "?limit=99999999999999999999", "?%00=%FF", "?after=%",
                ] {
                    // A stream that is taken has no end to wait for.
                    let isKnown = route.query.contains { query.dropFirst().hasPrefix($0.name + "=") }
                    guard !(isStream(route) && isKnown) else { continue }
                    let reply = try await request(
                        route.method, path(route, "x") + query, at: address, headers: [bearer],
                        body: route.body.map { _ in "{}" })
                    #expect((200..<500).contains(reply.status), "\(route.method) \(route.path)\(query): \(reply.text)")
                    if !isKnown { #expect(reply.status >= 400, "\(route.method) \(route.path)\(query): \(reply.text)") }
                }
            }
        }
    }

    @Test("every body is held to its schema: each field with each wrong value, without it, and with one more")
    func bodies() async throws {
        let cluster = cluster()
        try await withServer(cluster) { _, address in
            for route in RouteTable.all {
                guard let schema = route.body, case .object(_, let fields) = schema else { continue }
                let name = "\(route.method) \(route.path)"
                func send(_ body: String) async throws -> Reply {
                    let reply = try await request(
                        route.method, path(route, "files"), at: address, headers: [bearer], body: body)
                    #expect((200..<500).contains(reply.status), "\(name) \(body.prefix(200)): \(reply.text)")
                    return reply
                }
                for body in Self.wholeBodies {
                    let reply = try await send(body)
                    // A body of nothing but optional fields may be empty.
                    let mayBeEmpty = !fields.contains(where: \.isRequired) && ["{}", " ", ""].contains(body)
                    if !mayBeEmpty { #expect(reply.status >= 400, "\(name) \(body.prefix(40)): \(reply.text)") }
                }
                let good = fields.filter(\.isRequired).map { "\"\($0.name)\":\(sample($0.schema))" }
                let odd = try await send("{" + (good + ["\"noSuchField\":1"]).joined(separator: ",") + "}")
                #expect(odd.status == 400 && odd.text.contains("noSuchField"), "\(name): \(odd.text)")
                for field in fields {
                    let others = fields.filter { $0.isRequired && $0.name != field.name }
                        .map { "\"\($0.name)\":\(sample($0.schema))" }
                    if field.isRequired {
                        let reply = try await send("{" + others.joined(separator: ",") + "}")
                        #expect(reply.status == 400 && reply.text.contains(field.name), "\(name): \(reply.text)")
                    }
                    for value in Self.values {
                        let body = "{" + (others + ["\"\(field.name)\":\(value)"]).joined(separator: ",") + "}"
                        let reply = try await send(body)
                        if let parsed = try? JSONReader.read(Array(body.utf8)), schema.mismatch(in: parsed) != nil {
                            #expect(reply.status == 400, "\(name) \(body.prefix(200)): \(reply.text)")
                        }
                    }
                }
            }
        }
    }

    private func sample(_ schema: Schema) -> String {
        switch schema {
        case .text(let choices): "\"\(choices.first ?? "x")\""
        case .whole, .number: "1"
        case .truth: "true"
        case .anything: "null"
        case .list: "[]"
        case .map, .object: "{}"
        }
    }

    @Test("every path answers a method that it does not take with 405 and those that it takes")
    func methods() async throws {
        try await withServer(cluster()) { _, address in
            for route in RouteTable.all {
                let taken = RouteTable.all.filter { $0.path == route.path }.map(\.method)
                for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]
                where !taken.contains(method) {
                    let reply = try await request(method, path(route, "x"), at: address, headers: [bearer])
                    #expect(reply.status == 405, "\(method) \(route.path): \(reply.status)")
                    #expect(reply.header("Allow")?.contains(route.method) == true, "\(method) \(route.path)")
                }
            }
        }
    }

    @Test("every route that takes a body refuses one that is too large, and every other one refuses any")
    func sizes() async throws {
        var limits = WebLimits()
        limits.bodyBytes = 4096
        try await withServer(cluster(), limits: limits) { _, address in
            for route in RouteTable.all where route.upload == nil && route.method != "GET" {
                let body = "{\"name\":\"\(String(repeating: "x", count: 5000))\"}"
                let reply = try await request(
                    route.method, path(route, "x"), at: address, headers: [bearer], body: body)
                let expected: Set<Int> = route.body == nil ? [400, 413] : [413]
                #expect(expected.contains(reply.status), "\(route.method) \(route.path): \(reply.status)")
            }
        }
    }
}
