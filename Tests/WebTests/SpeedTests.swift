import BrambleAPI
import Foundation
import Glibc
import Primitives
import Reactor
import TestSupport
import Testing
import WebTestSupport

/// Not a check: figures for people who work on the speed, where BRAMBLE_MEASURE is set. Build with -c release.
@Test(
    "how long a point read takes on a kept-alive connection",
    .enabled(if: ProcessInfo.processInfo.environment["BRAMBLE_MEASURE"] != nil))
func pointRead() async throws {
    let cluster = clusterWithToken()
    cluster.change { state in
        for number in 0..<10 { state.tokens["token\(number)"] = "other\(number)" }
        state.database.onExecute = { _ throws(APIError) in
            SQLAnswer(
                results: [
                    SQLResult(
                        columns: ["id", "name", "price"], rows: [[.integer(7), .text("Article 7"), .real(8.75)]])
                ], durability: nil, token: "1-5f3a9c")
        }
    }
    let socket = temporaryPath("measure.sock")
    try await withServer(cluster, extra: [.unix(path: socket)]) { server, address in
        for (name, address, head) in [
            ("TCP, token", address, "Authorization: Bearer secret\r\n"), ("Unix socket", server.addresses[1], ""),
        ] {
            let body =
                #"{"statement":"select id, name, price from articles where id = ?","params":[7],"readOnly":true}"#
            for path in ["/v1/sql", "/nothing", "/v1/version"] {
                let method = path == "/v1/sql" ? "POST" : "GET"
                let text =
                    method == "GET"
                    ? "GET \(path) HTTP/1.1\r\nHost: x\r\n\(head)\r\n"
                    : "POST \(path) HTTP/1.1\r\nHost: x\r\n\(head)Content-Type: application/json\r\n"
                        + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
                let times = try await blocking {
                    let connection = try RawConnection(to: address)
                    var times: [Double] = []
                    for _ in 0..<5000 {
                        let start = SystemClock.now
                        try connection.send(text)
                        _ = try connection.readReply()
                        times.append((SystemClock.now - start).seconds * 1e6)
                    }
                    return times.sorted()
                }
                print("\(name) \(method) \(path): p50 \(Int(times[2500])) µs, p99 \(Int(times[4950])) µs")
            }
        }
    }
}
