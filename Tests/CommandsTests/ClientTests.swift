import BrambleAPI
import Glibc
import TestSupport
import Testing

@Suite("the client tells apart an answer, a refusal, nonsense and silence")
struct ClientTests {
    /// Runs `body` against a server that answers everything by `script`.
    private func with<Result>(
        _ script: @escaping @Sendable (String) -> [TinyServer.Step],
        _ body: (BrambleClient, TinyServer) async throws -> Result
    ) async rethrows -> Result {
        let server = TinyServer(script: script)
        defer { server.stop() }
        return try await body(BrambleClient(socket: server.path), server)
    }

    @Test("an answer becomes values")
    func values() async throws {
        let status = try await with({ _ in TinyServer.answer("200 OK", Example.statusJSON) }) { client, _ in
            try await client.status()
        }
        #expect(status == Example.status)
    }

    @Test("a name in a path is escaped, whatever is in it")
    func escaping() async throws {
        let asked = try await with({ _ in
            TinyServer.answer("200 OK", #"{"subject":"x","answer":"y","because":[]}"#)
        }) { client, server in
            _ = try await client.why("a/../b?c d#%é")
            _ = try await client.why("..")
            return server.asked.map { $0.prefix { $0 != "\r\n" } }
        }
        #expect(asked[0] == "GET /v1/why/a%2F..%2Fb%3Fc%20d%23%25%C3%A9 HTTP/1.1")
        #expect(asked[1] == "GET /v1/why/%2E%2E HTTP/1.1")
    }

    @Test("a change is sent as JSON")
    func change() async throws {
        let asked = try await with({ _ in TinyServer.answer("200 OK", #"{"name":"serv2","done":"added"}"#) }) {
            client, server in
            _ = try await client.add("se\"rv2")
            return server.asked[0]
        }
        #expect(asked.hasPrefix("POST /v1/nodes HTTP/1.1\r\n"))
        #expect(asked.contains("Content-Type: application/json\r\n"))
        #expect(asked.hasSuffix(#"{"name":"se\"rv2"}"#))
    }

    @Test("a refusal keeps problem, remedy and status")
    func refusal() async {
        let body = #"{"error":{"problem":"no node is called x","remedy":"bramble nodes","kind":"not-found"}}"#
        let error = await failure { _ in TinyServer.answer("404 Not Found", body) }
        #expect(error?.kind == .refused(status: 404))
        #expect(error?.error == APIError(problem: "no node is called x", remedy: "bramble nodes", kind: .notFound))
    }

    @Test(
        "what is no answer of a node is named so",
        arguments: [
            TinyServer.answer("200 OK", "<html>hello</html>", type: "text/html"),
            TinyServer.answer("404 Not Found", "<html>nothing</html>", type: "text/html"),
            TinyServer.answer("200 OK", #"{"cluster":"home"}"#), TinyServer.answer("200 OK", ""),
            [.send("SSH-2.0-OpenSSH_9.2\r\n")],
        ])
    func nonsense(script: [TinyServer.Step]) async {
        let error = await failure { _ in script }
        #expect(error?.kind == .notUnderstood)
        #expect(error?.error.problem.isEmpty == false && error?.error.remedy.isEmpty == false)
    }

    @Test(
        "an answer that breaks off is no answer",
        arguments: [[], [.send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"cluster\":")], [.send("HTTP/1.1 2")]]
            as [[TinyServer.Step]])
    func broken(script: [TinyServer.Step]) async {
        let error = await failure { _ in script }
        #expect(error?.kind == .noAnswer, "\(String(describing: error))")
    }

    @Test("a socket that does not exist, and one that nobody listens on, say how to start the daemon")
    func dead() async {
        let missing = await #expect(throws: ClientError.self) {
            try await BrambleClient(socket: "/tmp/bramble-no-such.sock").status()
        }
        #expect(missing?.kind == .noAnswer)
        #expect(missing?.error.problem.contains("there is no such socket") == true)
        #expect(missing?.error.remedy.contains("systemctl start bramble") == true)

        let server = TinyServer { _ in [] }
        let path = server.path + "dead"
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = TinyServer.address(path)
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        #expect(bound == 0)
        close(descriptor)
        let dead = await #expect(throws: ClientError.self) { try await BrambleClient(socket: path).status() }
        unlink(path)
        server.stop()
        #expect(dead?.kind == .noAnswer)
        #expect(dead?.error.problem.contains("nothing listens there") == true)
    }

    @Test("a server that takes the question and stays silent is given up after the timeout", .timeLimit(.minutes(10)))
    func silent() async {
        let error = await failure(timeout: .milliseconds(300)) { _ in [.hang] }
        #expect(error?.kind == .noAnswer)
        #expect(error?.error.problem.contains("did not answer in time") == true)
    }

    @Test("an endless answer is cut off at 16 MiB", .timeLimit(.minutes(10)))
    func endless() async {
        let megabyte = String(repeating: "x", count: 1 << 20)
        let error = await failure { _ in
            [.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")]
                + Array(repeating: .send(megabyte), count: 64)
        }
        #expect(error?.kind == .notUnderstood)
        #expect(error?.error.problem.contains("larger than 16 MiB") == true)
    }

    @Test("a cancelled task does not wait for the answer", .timeLimit(.minutes(10)))
    func cancelled() async {
        await with({ _ in [.hang] }) { client, server in
            var patient = client
            patient.timeout = .seconds(600)
            let task = Task { [patient] in try await patient.status() }
            try? await blocking { while server.asked.isEmpty { usleep(1000) } }
            task.cancel()
            let result = await task.result
            #expect(throws: ClientError.self) { try result.get() }
        }
    }

    @Test("addresses that cannot be right are refused before anything is sent")
    func addresses() {
        for address in [
            "serv1", "serv1:8080", "ftp://serv1", "http://", "http://serv1/x", "http://me:secret@serv1", "http://a b",
            "http://serv1?x=1",
        ] {
            let error = #expect(throws: ClientError.self) { try BrambleClient(api: address, token: nil) }
            #expect(error?.kind == .wrongUse, "\(address)")
        }
        for token in ["", "a b", "a\r\nX: y", "é"] {
            let error = #expect(throws: ClientError.self) { try BrambleClient(api: "http://serv1:8080", token: token) }
            #expect(error?.kind == .wrongUse)
        }
        #expect(throws: Never.self) { try BrambleClient(api: "https://[fd00::1]:8080/", token: "abc") }
    }

    /// The error of asking for the status.
    private func failure(
        timeout: Duration = .seconds(20), _ script: @escaping @Sendable (String) -> [TinyServer.Step]
    ) async -> ClientError? {
        await with(script) { client, _ in
            var client = client
            client.timeout = timeout
            do throws(ClientError) {
                _ = try await client.status()
                return nil
            } catch {
                return error
            }
        }
    }
}
